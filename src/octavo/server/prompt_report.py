"""What the choices of a completion tell of their prompts: echoed text, token ids, log-probabilities."""

import dataclasses
from collections.abc import Sequence

from octavo.core.messages import TokenLogprobs
from octavo.server.echo import PromptEcho
from octavo.server.logprobs import CompletionTokens, Lists, TokenNames, prompt_logprobs


@dataclasses.dataclass(frozen=True, slots=True)
class PromptReport:
    """Of the prompts of one request, each with num_choices choices; index is a choice's.

    echoes: empty for a request that wants none. num_logprobs: alternatives in an echo's logprobs;
    num_prompt_logprobs: in those that are a field of their own; None: there are none.
    """

    names: TokenNames
    prompts: Sequence[list[int]]
    num_choices: int
    echoes: Sequence[PromptEcho] = ()
    num_logprobs: int | None = None
    num_prompt_logprobs: int | None = None
    has_ids: bool = False
    prompt_text: str | None = None  # of a chat, if it is asked for

    @property
    def is_told_of(self) -> bool:
        fields = (self.num_prompt_logprobs, self.prompt_text)
        return bool(self.echoes) or self.has_ids or any(field is not None for field in fields)

    def text(self, index: int) -> str:
        """In front of the answer's."""
        return self.echoes[index // self.num_choices].text if self.echoes else ""

    def echoed_logprobs(self, index: int, logprobs: TokenLogprobs | None) -> Lists | None:
        """In front of the answer's."""
        if not self.echoes or self.num_logprobs is None or logprobs is None:
            return None
        echo = self.echoes[index // self.num_choices]
        return CompletionTokens(self.names).of_prompt(echo, logprobs.with_top(self.num_logprobs))

    def fields(self, index: int, logprobs: TokenLogprobs | None) -> dict[str, object]:
        prompt = self.prompts[index // self.num_choices]
        found: dict[str, object] = {}
        if self.has_ids:
            found["prompt_token_ids"] = prompt
        if self.prompt_text is not None:
            found["prompt_text"] = self.prompt_text
        if self.num_prompt_logprobs is not None and logprobs is not None:
            top = logprobs.with_top(self.num_prompt_logprobs)
            found["prompt_logprobs"] = prompt_logprobs(self.names, prompt, top)
        return found
