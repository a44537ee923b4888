"""How far a step guesses ahead, and for whom. Runs in the engine process."""

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.request import Request
from octavo.scheduler.step_time import StepTimeModel

# A draft brings at least so many times what its row costs: a step's time is a staircase of its rows, through
# which the model draws a line.
LEAST_GAIN = 1.25


class Speculation:
    """A step computes drafts as long as it yields clearly more tokens a second with them, by the model of its
    time and by how often each request's have come true. A draft costs a row, and brings a token if it and all
    before it are right: there are many where rows are nearly free, few or none where they are not.
    """

    def __init__(self, model: StepTimeModel, max_drafts: int) -> None:
        """max_drafts: of a request in a step; 0: none ever."""
        self._model = model
        self._max_drafts = max_drafts

    def draft(
        self, decodes: list[Request], num_context_tokens: int, most: int, seconds: float | None
    ) -> None:
        """Set Request.drafts of those that compute one token each in a step that computes nothing else.

        At most so many in all, and (if not None) so long as the step takes no longer than these seconds.
        """
        if not self._max_drafts or most <= 0:
            return
        count = len(decodes)
        step_seconds = self._model.predict(count, num_context_tokens, count)
        row_seconds = self._model.decode_seconds(num_context_tokens / count)
        worth = LEAST_GAIN * row_seconds
        offers = self._offers(decodes, worth * count / step_seconds)
        num_tokens = float(count)
        for chance, request, draft in offers[:most]:
            if chance * step_seconds <= worth * num_tokens:
                break
            step_seconds += row_seconds
            if seconds is not None and step_seconds > seconds:
                break
            num_tokens += chance
            request.drafts.append(draft)

    def _offers(self, decodes: list[Request], least_chance: float) -> list[tuple[float, Request, int]]:
        """(chance that it comes true, request, draft), the most likely first, those of a request in order."""
        offers = []
        for request in decodes:
            drafting = request.drafting
            if drafting is None:
                continue
            if drafting.chance <= least_chance:
                drafting.look_back(request.token_ids)
                if drafting.chance <= least_chance:
                    continue
            likely, chance = 1.0, drafting.chance
            for draft in drafting.drafter.propose(request.token_ids, self._num_possible(request)):
                likely *= chance
                if likely <= least_chance:
                    break
                offers.append((likely, request, draft))
        offers.sort(key=lambda offer: -offer[0])
        return offers

    def _num_possible(self, request: Request) -> int:
        """Drafts that need no block the request would not have without them, and no token beyond its last."""
        num_tokens = len(request.token_ids)
        return min(self._max_drafts, -num_tokens % BLOCK_SIZE, request.max_total_tokens - num_tokens - 1)
