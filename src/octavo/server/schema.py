"""The bodies of generation requests and what answers share, as msgspec Structs.

parameters.py lists the fields and what each is. Limits of sampling fields are core/sampling_params.py's,
limits that depend on the model are prompts.py's.
"""

import dataclasses
from typing import Annotated, Literal

import msgspec

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.core.sampling_params import MAX_LOGPROBS, SamplingParams
from octavo.server.messages import ChatMessage
from octavo.server.structured import StructuredFields
from octavo.server.tools import Tool, ToolChoice

Name = Annotated[str, msgspec.Meta(max_length=256)]
Salt = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Alternatives = Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)]
Priority = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""Lower comes first, so a request can only step back: none that has no priority loses by it."""
Documents = Annotated[list[dict[Name, str]], msgspec.Meta(max_length=1024)]
KeptTokens = Annotated[int, msgspec.Meta(ge=-1)]
ReasoningTokens = Annotated[int, msgspec.Meta(ge=-1, lt=2**31)]
StopTokenIds = Annotated[list[int], msgspec.Meta(max_length=64)]
Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]
"""OpenAI's limits."""
TemplateVariables = Annotated[
    dict[Name, bool | int | float | Annotated[str, msgspec.Meta(max_length=1024)]],
    msgspec.Meta(max_length=16),
]


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: Literal[False] | None = None


class OctavoOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    explain: bool | None = None


class GenerationRequest(StructuredFields, forbid_unknown_fields=True, kw_only=True):
    """What both kinds of request share. null means the same as leaving a field out."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[int] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: StopTokenIds | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: int | None = None
    bad_words: list[str] | None = None
    truncate_prompt_tokens: KeptTokens | None = None
    truncation_side: Literal["left", "right"] | None = None
    priority: Priority | None = None
    skip_special_tokens: bool | None = None
    prompt_logprobs: Alternatives | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Salt | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    octavo: OctavoOptions | None = None
    user: Name | None = None
    safety_identifier: Name | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Name | None = None
    prompt_cache_key: Name | None = None
    prompt_cache_retention: Name | None = None
    prompt_cache_options: dict[Name, Name] | None = None
    session_id: Name | None = None
    stream_interval: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether the stream ends with a chunk that holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def has_running_usage(self) -> bool:
        """Whether every chunk has the usage so far."""
        options = self.stream_options
        return options is not None and bool(options.include_usage and options.continuous_usage_stats)

    @property
    def explains(self) -> bool:
        """Whether the answer says what became of the request."""
        return self.octavo is not None and bool(self.octavo.explain)

    @property
    def num_logprobs(self) -> int | None:
        """Alternatives to be reported with the log-probability of each token; None: nothing is."""
        raise NotImplementedError

    @property
    def num_candidates(self) -> int:
        """Choices to generate for each prompt."""
        return 1 if self.n is None else self.n

    @property
    def num_candidates_param(self) -> str:
        """The field that says so."""
        return "n"

    def sampling_params(self) -> SamplingParams:
        """Raises InvalidRequestError, naming the field, for a value out of range."""
        check_kept(self.truncate_prompt_tokens)
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError(
                "stream_options is allowed only with stream: true.", param="stream_options"
            )
        given = {
            field.name: value
            for field in dataclasses.fields(SamplingParams)
            if (value := getattr(self, field.name, None)) is not None
        }
        given["logprobs"], given["prompt_logprobs"] = self._computed_logprobs()
        if self.stop is not None:
            given["stop"] = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if self.stop_token_ids is not None:
            given["stop_token_ids"] = tuple(self.stop_token_ids)
        if self.allowed_token_ids is not None:
            given["allowed_token_ids"] = tuple(dict.fromkeys(self.allowed_token_ids))
        if self.logit_bias is not None:
            given["logit_bias"] = tuple((_token_id(key), bias) for key, bias in self.logit_bias.items())
        return SamplingParams(**given)

    def _computed_logprobs(self) -> tuple[int | None, int | None]:
        """Alternatives that the engine computes: for tokens of the answer, and of the prompt."""
        return self.num_logprobs, self.prompt_logprobs


def check_kept(truncate_prompt_tokens: int | None) -> None:
    """Raises InvalidRequestError."""
    if truncate_prompt_tokens == 0:
        raise InvalidRequestError(
            "truncate_prompt_tokens is 0; allowed: -1, or 1 and more.", param="truncate_prompt_tokens"
        )


def _token_id(key: str) -> int:
    """JSON has no other keys than texts."""
    if not (key.isascii() and key.isdecimal() and len(key) <= 10):
        raise InvalidRequestError(
            f"logit_bias has the key {key[:ECHO_LIMIT]!r}; allowed: token ids.", param="logit_bias"
        )
    return int(key)


def _one_of(name: str, value: int | None, other_name: str, other: int | None) -> int | None:
    """Of two names of the same. Raises InvalidRequestError if they differ."""
    if value is not None and other is not None and value != other:
        raise InvalidRequestError(
            f"{name} is {value} and {other_name} is {other}; they mean the same: send one of them.",
            param=other_name,
        )
    return other if value is None else value


class ChatRequest(GenerationRequest, kw_only=True):
    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Name | None = None
    enable_thinking: bool | None = None
    thinking_token_budget: ReasoningTokens | None = None
    thinking_budget: ReasoningTokens | None = None
    include_reasoning: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    echo: bool | None = None
    return_prompt_text: bool | None = None
    documents: Documents | None = None

    @property
    def reasoning_budget(self) -> int | None:
        """Tokens; -1: any number. Raises InvalidRequestError for two that differ."""
        return _one_of(
            "thinking_token_budget", self.thinking_token_budget, "thinking_budget", self.thinking_budget
        )

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def sampling_params(self) -> SamplingParams:
        limit = _one_of("max_tokens", self.max_tokens, "max_completion_tokens", self.max_completion_tokens)
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequestError(
                "top_logprobs is allowed only with logprobs: true.", param="top_logprobs"
            )
        sampling = super().sampling_params()
        return sampling if limit is None else dataclasses.replace(sampling, max_tokens=limit)


class CompletionRequest(GenerationRequest, kw_only=True):
    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    logprobs: Alternatives | None = None
    echo: bool | None = None
    best_of: int | None = None

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def num_candidates(self) -> int:
        return super().num_candidates if self.best_of is None else self.best_of

    @property
    def num_candidates_param(self) -> str:
        return "n" if self.best_of is None else "best_of"

    def sampling_params(self) -> SamplingParams:
        self._check_best_of()
        if self.echo and self.suffix:
            raise InvalidRequestError("echo is allowed only without suffix.", param="echo")
        return super().sampling_params()

    def _check_best_of(self) -> None:
        if self.best_of is None:
            return
        if self.best_of < (self.n or 1):
            raise InvalidRequestError(
                f"best_of is {self.best_of}; allowed: n, which is {self.n or 1}, and more.", param="best_of"
            )
        if self.stream and self.best_of > (self.n or 1):
            raise InvalidRequestError("best_of above n is allowed only without stream.", param="best_of")

    def _computed_logprobs(self) -> tuple[int | None, int | None]:
        """Choices are ranked by theirs; an echo has the prompt's."""
        is_ranked = self.num_candidates > (self.n or 1)
        answer = 0 if self.logprobs is None and is_ranked else self.logprobs
        wanted = [self.prompt_logprobs]
        if self.echo:
            wanted += [self.logprobs, 0 if self.max_tokens == 0 else None]
        return answer, max((count for count in wanted if count is not None), default=None)


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct, omit_defaults=True):
    """The last is there if the model reasons."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | None = None
