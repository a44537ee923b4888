"""Guessing ahead where it does not depend on the time of steps: always, and partly wrong."""

from collections.abc import Callable, Iterable, Sequence

from octavo.core.request import Request
from octavo.scheduler.speculation import Speculation

WRONG_EVERY = 5


class EagerSpeculation(Speculation):
    """Everybody's drafts are computed, as long as there are rows."""

    def draft(
        self, decodes: list[Request], num_context_tokens: int, most: int, seconds: float | None
    ) -> None:
        for request in decodes:
            if request.drafting is not None:
                num_possible = min(most, self._num_possible(request))
                request.drafts = request.drafting.drafter.propose(request.token_ids, num_possible)
                most -= len(request.drafts)


class Recalling:
    """A Drafter that knows sequences: what followed in the first that begins alike. Every fifth is off."""

    def __init__(self, sequences: Callable[[], Iterable[Sequence[int]]]) -> None:
        self._sequences = sequences

    def propose(self, token_ids: list[int], most: int) -> list[int]:
        count = len(token_ids)
        for sequence in self._sequences():
            if len(sequence) > count and list(sequence[:count]) == token_ids:
                following = enumerate(sequence[count : count + most], count)
                return [max(0, token - 1) if at % WRONG_EVERY == 0 else token for at, token in following]
        return []
