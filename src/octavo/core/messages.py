"""What server and engine process say to each other: msgpack frames, one for each engine step.

Every engine frame carries its epoch (how often the engine has been started) and each output the index of its
first token: a frame of another epoch or a known index is dropped by the client, a gap is a fault.
"""

import msgspec

from octavo.core.grammar_spec import GrammarSpec
from octavo.core.request import FinishReason, Pooling
from octavo.core.sampling_params import SamplingParams

OVERLOADED = "server_overloaded"
"""The error_code of a request that the engine has no room for now."""
OVERLOAD_RETRY_SECONDS = 5  # and when its client may come back


class Submit(msgspec.Struct, tag=True, array_like=True):
    """client -> engine: generate. After a crash it is sent again with the tokens so far and suspect marks."""

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    sampling: SamplingParams
    seed: int
    arrival: float  # monotonic seconds of the first submission; kept on resubmission
    priority: int = 0
    branch: int = 0
    salt: str = ""
    is_probe: bool = False  # outside prefix cache, metrics and queue limits
    is_suspect: bool = False  # runs alone: never in a step with another suspect
    fork_of: str | None = None  # the request of branch 0: the same prompt, which is computed once for all
    pooling: Pooling | None = None  # an embedding instead of an answer
    grammar: GrammarSpec | None = None  # what the answer must look like
    tenant: str = ""  # whose request it is: tenants share the engine fairly


class Abort(msgspec.Struct, tag=True, array_like=True):
    """client -> engine: the client of these requests is gone; free their blocks within a step."""

    request_ids: list[str]


ClientMessage = Submit | Abort


class TokenLogprobs(msgspec.Struct, array_like=True):
    """Of consecutive tokens, one entry each: of the raw logits, as StepLogprobs says."""

    logprobs: list[float] = msgspec.field(default_factory=list)
    ranks: list[int] = msgspec.field(default_factory=list)
    top_ids: list[list[int]] = msgspec.field(default_factory=list)
    top_logprobs: list[list[float]] = msgspec.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.logprobs)

    def extend(self, other: "TokenLogprobs") -> None:
        self.logprobs += other.logprobs
        self.ranks += other.ranks
        self.top_ids += other.top_ids
        self.top_logprobs += other.top_logprobs

    def first(self, count: int) -> "TokenLogprobs":
        return TokenLogprobs(
            self.logprobs[:count], self.ranks[:count], self.top_ids[:count], self.top_logprobs[:count]
        )

    def with_top(self, count: int) -> "TokenLogprobs":
        """With at most count alternatives each."""
        tops = [ids[:count] for ids in self.top_ids], [values[:count] for values in self.top_logprobs]
        return TokenLogprobs(self.logprobs, self.ranks, *tops)

    def beyond(self, count: int) -> "TokenLogprobs":
        """Without the first count tokens."""
        return TokenLogprobs(
            self.logprobs[count:], self.ranks[count:], self.top_ids[count:], self.top_logprobs[count:]
        )


class RequestOutput(msgspec.Struct, array_like=True, gc=False):
    """New tokens of one request; finish_reason ends it. error is the sentence for the user when it failed."""

    request_id: str
    first_index: int  # of token_ids[0] among the output tokens
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    error: str | None = None
    num_cached_tokens: int = 0
    queue_seconds: float = 0.0  # arrival to first scheduled
    prefill_seconds: float = 0.0  # first scheduled to first token
    num_preemptions: int = 0
    logprobs: TokenLogprobs | None = None  # of token_ids, if asked for
    prompt_logprobs: TokenLogprobs | None = None  # of prompt tokens from first_prompt_index on, as they come
    first_prompt_index: int = 1
    pooled: bytes | None = None  # little-endian fp32 [hidden size], with the finish_reason
    error_code: str | None = None  # of a request that is at fault itself, or OVERLOADED; None: it failed


class EngineStats(msgspec.Struct, array_like=True):
    """Gauges as of the end of a step, counters since the engine's start."""

    num_running: int = 0
    num_waiting: int = 0
    kv_usage: float = 0.0  # 0 to 1
    num_steps: int = 0
    num_step_tokens: int = 0  # of this step
    num_preemptions: int = 0
    num_prompt_tokens: int = 0
    num_generation_tokens: int = 0
    num_recomputed_tokens: int = 0
    prefix_cache_queries: int = 0  # tokens
    prefix_cache_hits: int = 0  # tokens
    num_drafts: int = 0  # guesses ahead, of one token or several
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0  # of those, as right
    cached_blocks: bytes = b""  # since the frame before: blocks that can now be found, as short_hashes
    forgotten_blocks: bytes = b""  # and those that no longer can


class Ready(msgspec.Struct, tag=True, array_like=True):
    """engine -> client: the model is loaded and a first token was computed."""

    epoch: int
    max_model_len: int
    vocab_size: int
    num_blocks: int
    memory: dict[str, int]  # the fields of MemoryPlan; process_bytes: what was resident before it
    boot_seconds: dict[str, float]  # phase -> duration, in order
    fingerprint: str
    threads: int
    isa: str
    kv_cache_memory: int | None = None  # bytes that give a successor as many blocks
    kv_dtype: str = "bf16"  # what the KV cache holds
    activation_dtype: str = "bf16"  # what quantized weights are multiplied by
    kv_tokens: int = 0  # tokens that fit into the KV cache, in sequences of max_model_len
    notices: tuple[str, ...] = ()  # sentences for whoever started it


class StepFrame(msgspec.Struct, tag=True, array_like=True):
    """engine -> client: everything one step produced."""

    epoch: int
    step_id: int
    outputs: list[RequestOutput]
    stats: EngineStats


class StartFailure(msgspec.Struct, tag=True, array_like=True):
    """engine -> client: the engine cannot start. is_final: a StartError, trying again would not help."""

    message: str
    is_final: bool = True


EngineMessage = Ready | StepFrame | StartFailure
