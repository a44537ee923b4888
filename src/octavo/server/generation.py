"""One choice while it is generated: tokens of the engine in, text out, and afterwards an account of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from octavo.core.errors import EngineError, OctavoError
from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.relay import ChoiceProgress
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import RequestStream
from octavo.http.errors import HttpError
from octavo.http.request_log import RequestRecord
from octavo.metrics.engine_metrics import EngineMetrics, FinishedRequest
from octavo.server.schema import CompletionTokensDetails, PromptTokensDetails, Usage
from octavo.server.token_report import NoReport, ReportedTokens, TokenReport
from octavo.text.reasoning_meter import ReasoningMeter
from octavo.text.text_stream import TextStream


class Generation:
    """Owns its RequestStream: whoever makes a Generation calls close(), whatever happens in between."""

    def __init__(
        self,
        index: int,
        num_prompt_tokens: int,
        sampling: SamplingParams,
        *,
        stream: RequestStream,
        text: TextStream,
        arrival: float,
        metrics: EngineMetrics,
        clock: Callable[[], float] = time.monotonic,
        progress: ChoiceProgress | None = None,
        first: int | None = None,
        report: TokenReport | None = None,
        meter: ReasoningMeter | None = None,
    ) -> None:
        """index is the choice's among those of its HTTP request; arrival is that request's, on clock.

        first: the index of another choice, of the same prompt, that accounts for it and has its logprobs.
        progress: what another replica has generated and sent of it. Raises HttpError if that is not what
        this replica would have sent. meter: of a model that reasons.
        """
        self.index = index
        self.sampling = sampling
        self.num_prompt_tokens = num_prompt_tokens
        self.num_cached_tokens = 0
        self.first = index if first is None else first
        self.finish_reason: FinishReason | None = None
        self.taken_up = ""  # text that the client has from another replica
        self.prompt_logprobs: TokenLogprobs | None = None  # there with the first emit, if asked for
        self.pooled: bytes | None = None  # little-endian fp32, there at the end, if asked for
        self._sum_logprobs = 0.0
        self.num_preemptions = 0
        self._stream = stream
        self._text = text
        self._report = report or NoReport()
        self._meter = meter
        self._metrics = metrics
        self._clock = clock
        self._arrival = arrival
        self._first_token: float | None = None
        self._last_token = arrival
        self.queue_seconds = 0.0
        self.prefill_seconds = 0.0
        self._is_closed = False
        self._token_ids: list[int] = []  # since they were last taken
        self._progress = progress
        if progress is not None:
            self._take_up(progress)

    def _take_up(self, progress: ChoiceProgress) -> None:
        text = self._text.push(progress.token_ids)
        self._measure(progress.token_ids[: self.num_output_tokens])
        if progress.finish_reason is not None:
            text += self._text.finish()
            self.finish_reason = FinishReason(progress.finish_reason)
            self._is_closed = True  # the other replica has accounted for it
        if len(text) != progress.num_characters:
            raise HttpError(
                "resume_mismatch",
                f"The client has {progress.num_characters} characters; here the tokens make {len(text)}.",
            )
        self._report.take_up(progress.token_ids, progress.held_logprobs)
        self.taken_up = text
        self.num_cached_tokens = progress.num_cached_tokens

    @property
    def decode_seconds(self) -> float | None:
        """From the first token to the last; None without one."""
        return None if self._first_token is None else self._last_token - self._first_token

    @property
    def num_steps(self) -> int:
        """Of the engine, that gave it tokens."""
        return self._stream.num_steps

    @property
    def shares_prompt(self) -> bool:
        return self.first != self.index

    @property
    def has_ended(self) -> bool:
        return self.finish_reason is not None

    def take_token_ids(self) -> list[int]:
        """Those generated since the last call."""
        token_ids, self._token_ids = self._token_ids, []
        return token_ids

    def take_reported(self) -> ReportedTokens | None:
        """What is to be told of the tokens whose text has been emitted since the last call, if anything."""
        return self._report.take()

    @property
    def mean_logprob(self) -> float:
        """Of a token of the answer; 0 where the engine was not asked for logprobs."""
        return self._sum_logprobs / max(self.num_output_tokens, 1)

    @property
    def held_logprobs(self) -> TokenLogprobs | None:
        """Of tokens that take_reported() has not given yet."""
        return self._report.held_logprobs

    @property
    def num_output_tokens(self) -> int:
        """Of the answer: up to and with the one that completed a stop string."""
        return self._text.num_tokens

    @property
    def num_reasoning_tokens(self) -> int | None:
        """Of the answer; None: the model does not reason."""
        return None if self._meter is None else self._meter.num_tokens

    async def run(self, emit: "Emit") -> None:
        """Emit the text as it comes; with the last call finish_reason is set. Raises EngineError,
        and InvalidRequestError for a grammar that is refused.

        The first token is emitted at once, even if all of its text is held back. While emit was busy (a
        client that reads slowly) tokens have gathered: their text goes out as one.
        """
        if self.has_ended:
            return
        try:
            await self._emit_all(emit)
        except OctavoError:
            self.finish_reason = FinishReason.ERROR
            raise

    async def _emit_all(self, emit: "Emit") -> None:
        async for output in self._stream:
            await emit(self, self._take(output))
            if self.finish_reason is not None:
                return
        raise EngineError("The engine ended this request early.")

    def _take(self, output: RequestOutput) -> str:
        """The text it adds."""
        self._observe(output)
        self._token_ids += output.token_ids
        num_before = self.num_output_tokens
        text = self._text.push(output.token_ids)
        self._report.add(output.token_ids, output.logprobs)
        self.pooled = output.pooled
        self._measure(output.token_ids[: self.num_output_tokens - num_before])
        self._take_logprobs(output, self.num_output_tokens - num_before)
        if output.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            text += self._text.finish()
            self.finish_reason = output.finish_reason
        if self._text.is_stopped:
            self.finish_reason = FinishReason.STOP
            self._stream.abort()
        return text

    def _measure(self, token_ids: Sequence[int]) -> None:
        if self._meter is not None:
            self._meter.push(token_ids)

    def _take_logprobs(self, output: RequestOutput, num_new: int) -> None:
        if output.prompt_logprobs is not None:
            self.prompt_logprobs = output.prompt_logprobs
        if output.logprobs is not None:
            self._sum_logprobs += sum(output.logprobs.logprobs[:num_new])

    def _observe(self, output: RequestOutput) -> None:
        if self._progress is None:
            self.num_cached_tokens = output.num_cached_tokens
        self.queue_seconds = output.queue_seconds
        self.prefill_seconds = output.prefill_seconds
        self.num_preemptions = output.num_preemptions
        if not output.token_ids:
            return
        now = self._clock()
        num_next = len(output.token_ids)
        if self._first_token is None:
            self._first_token = now
            self._metrics.observe_first_token(now - self._arrival)
            num_next -= 1
        if num_next:
            self._metrics.observe_next_tokens(now - self._last_token, num_next)
        self._last_token = now

    def close(self, record: RequestRecord) -> None:
        """Free what the engine holds for it, unless it is finished, and account for it. Idempotent."""
        self._stream.abort()
        if self._is_closed:
            return
        self._is_closed = True
        self._metrics.observe_finished(
            FinishedRequest(
                finish_reason=self.finish_reason or FinishReason.ABORT,
                num_prompt_tokens=self.num_prompt_tokens,
                num_cached_tokens=self.num_cached_tokens,
                num_generation_tokens=self.num_output_tokens,
                max_tokens=self.sampling.max_tokens or 0,
                e2e_seconds=self._clock() - self._arrival,
                queue_seconds=self.queue_seconds,
                prefill_seconds=self.prefill_seconds,
                decode_seconds=self.decode_seconds,
            )
        )
        self._add_to(record)

    def _add_to(self, record: RequestRecord) -> None:
        if not self.shares_prompt:  # as in the usage
            record.num_prompt_tokens += self.num_prompt_tokens
            record.num_cached_tokens += self.num_cached_tokens
        record.num_output_tokens += self.num_output_tokens
        record.queue_seconds = max(record.queue_seconds, self.queue_seconds)
        record.prefill_seconds = max(record.prefill_seconds, self.prefill_seconds)
        record.finish_reason = (self.finish_reason or FinishReason.ABORT).value
        if self._first_token is not None:
            record.decode_seconds = max(record.decode_seconds, self._last_token - self._first_token)
            record.first_token_seconds = max(
                record.first_token_seconds or 0.0, self._first_token - self._arrival
            )


Emit = Callable[[Generation, str], Awaitable[None]]


async def run_all(generations: Sequence[Generation], emit: Emit) -> None:
    """Run them side by side. The first that fails ends all and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for generation in generations[1:]:
                group.create_task(generation.run(emit))
            await generations[0].run(emit)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def usage_of(generations: Sequence[Generation]) -> Usage:
    """A prompt counts once, however many choices it has."""
    firsts = [generation for generation in generations if not generation.shares_prompt]
    num_prompt = sum(generation.num_prompt_tokens for generation in firsts)
    num_output = sum(generation.num_output_tokens for generation in generations)
    num_cached = sum(generation.num_cached_tokens for generation in firsts)
    return _usage(num_prompt, num_output, num_cached, [one.num_reasoning_tokens for one in generations])


def usage_so_far(generation: Generation) -> Usage:
    """Of one choice, its prompt included."""
    return _usage(
        generation.num_prompt_tokens,
        generation.num_output_tokens,
        generation.num_cached_tokens,
        [generation.num_reasoning_tokens],
    )


def _usage(num_prompt: int, num_output: int, num_cached: int, reasoning: Sequence[int | None]) -> Usage:
    counted = [count for count in reasoning if count is not None]
    return Usage(
        num_prompt,
        num_output,
        num_prompt + num_output,
        PromptTokensDetails(num_cached),
        CompletionTokensDetails(sum(counted)) if counted else None,
    )
