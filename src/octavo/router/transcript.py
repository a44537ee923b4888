"""What a client has received of a relayed stream: all that another replica needs to go on with it."""

from octavo.core.relay import ChoiceProgress, Identity, Mark, ReplicaCard, Resumption
from octavo.router.routed_request import RoutedRequest

DONE = b"data: [DONE]\n\n"


class Transcript:
    __slots__ = ("_choices", "_newest", "is_complete")

    def __init__(self) -> None:
        self._choices: dict[int, ChoiceProgress] = {}
        self._newest = ChoiceProgress(-1)  # of them: most often the only one
        self.is_complete = False

    @property
    def num_tokens(self) -> int:
        return sum(len(choice.token_ids) for choice in self._choices.values())

    def add(self, mark: Mark, payload: bytes) -> None:
        """The client has got this payload."""
        choice = self._newest
        if choice.index != mark.index:
            choice = self._newest = self._choices.setdefault(mark.index, ChoiceProgress(mark.index))
        choice.token_ids.extend(mark.token_ids)
        choice.num_characters = mark.num_characters
        choice.num_cached_tokens = mark.num_cached_tokens
        choice.finish_reason = mark.finish_reason
        choice.held_logprobs = mark.held_logprobs
        self.is_complete = payload.endswith(DONE)

    def resumption(
        self, request: RoutedRequest, card: ReplicaCard, identity: Identity, *, is_inexact: bool = False
    ) -> Resumption:
        """card: of the replica that made the tokens."""
        choices = list(self._choices.values())
        return Resumption(request.path, card, identity, choices, request.raw_body, is_inexact)
