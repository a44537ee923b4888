"""What a client has received of a relayed stream: all that another replica needs to go on with it."""

from octavo.core.relay import ChoiceProgress, Identity, Mark, ReplicaCard, Resumption
from octavo.router.routed_request import RoutedRequest

DONE = b"data: [DONE]\n\n"


class Transcript:
    def __init__(self) -> None:
        self._choices: dict[int, ChoiceProgress] = {}
        self.num_tokens = 0
        self.is_complete = False

    def add(self, mark: Mark, payload: bytes) -> None:
        """The client has got this payload."""
        choice = self._choices.get(mark.index)
        if choice is None:
            choice = self._choices[mark.index] = ChoiceProgress(mark.index)
        choice.token_ids.extend(mark.token_ids)
        choice.num_characters = mark.num_characters
        choice.num_cached_tokens = mark.num_cached_tokens
        choice.finish_reason = mark.finish_reason
        choice.held_logprobs = mark.held_logprobs
        self.num_tokens += len(mark.token_ids)
        self.is_complete = payload.endswith(DONE)

    def resumption(
        self, request: RoutedRequest, card: ReplicaCard, identity: Identity, *, is_inexact: bool = False
    ) -> Resumption:
        """card: of the replica that made the tokens."""
        choices = list(self._choices.values())
        return Resumption(request.path, card, identity, choices, request.raw_body, is_inexact)
