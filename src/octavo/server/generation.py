"""One choice while it is generated: tokens of the engine in, text out, and afterwards an account of it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from octavo.core.errors import EngineError, OctavoError
from octavo.core.messages import RequestOutput, TokenLogprobs
from octavo.core.relay import ChoiceProgress
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import Admission, RequestStream
from octavo.http.errors import HttpError
from octavo.http.request_log import RequestRecord
from octavo.metrics.engine_metrics import EngineMetrics, FinishedRequest
from octavo.server.schema import CompletionTokensDetails, PromptTokensDetails, Usage
from octavo.server.token_report import NoReport, ReportedTokens, TokenReport
from octavo.text.reasoning_meter import ReasoningMeter
from octavo.text.text_stream import TextStream

_NOT_ADMITTED = Admission(0, 0.0, 0.0)


class Sink(Protocol):
    """Where the text of choices goes."""

    @property
    def is_behind(self) -> bool:
        """It takes nothing now; when it does again it calls advance() of each."""
        ...

    def emit(self, generation: "Generation", text: str, tokens: ReportedTokens | None) -> None:
        """The first time as soon as there is a token, even if all of its text is held back; at the last call
        finish_reason is set. tokens: what is to be told of those whose text is out, if anything."""
        ...


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
        keeps_ids: bool = False,
    ) -> None:
        """index is the choice's among those of its HTTP request; arrival is that request's, on clock.

        first: the index of another choice, of the same prompt, that accounts for it and has its logprobs.
        progress: what another replica has generated and sent of it. Raises HttpError if that is not what
        this replica would have sent. meter: of a model that reasons. keeps_ids: for take_token_ids().
        """
        self.index = index
        self.sampling = sampling
        self.num_prompt_tokens = num_prompt_tokens
        self.first = index if first is None else first
        self.finish_reason: FinishReason | None = None
        self.taken_up = ""  # text that the client has from another replica
        self.prompt_logprobs: TokenLogprobs | None = None  # there with the first emit, if asked for
        self.pooled: bytes | None = None  # little-endian fp32, there at the end, if asked for
        self._sum_logprobs = 0.0
        self._stream = stream
        self._text = text
        self._report = report or NoReport()
        self._meter = meter
        self._metrics = metrics
        self._clock = clock
        self._arrival = arrival
        self._first_token: float | None = None
        self._last_token = arrival
        self._is_closed = False
        self._keeps_ids = keeps_ids
        self._is_followed = (
            keeps_ids
            or meter is not None
            or self._report.is_asked_for
            or sampling.logprobs is not None
            or sampling.prompt_logprobs is not None
        )
        self._token_ids: list[int] = []  # since they were last taken
        self._progress = progress
        self._sink: Sink | None = None
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

    @property
    def num_cached_tokens(self) -> int:
        """Of the prompt, by whatever replica admitted the request first."""
        if self._progress is not None:
            return self._progress.num_cached_tokens
        return self._admission.num_cached_tokens

    @property
    def queue_seconds(self) -> float:
        return self._admission.queue_seconds

    @property
    def prefill_seconds(self) -> float:
        return self._admission.prefill_seconds

    @property
    def _admission(self) -> Admission:
        return self._stream.admission or _NOT_ADMITTED

    @property
    def num_preemptions(self) -> int:
        return self._stream.num_preemptions

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

    @property
    def mean_logprob(self) -> float:
        """Of a token of the answer; 0 where the engine was not asked for logprobs."""
        return self._sum_logprobs / max(self.num_output_tokens, 1)

    @property
    def held_logprobs(self) -> TokenLogprobs | None:
        """Of tokens that were not emitted yet."""
        return self._report.held_logprobs

    @property
    def num_output_tokens(self) -> int:
        """Of the answer: up to and with the one that completed a stop string."""
        return self._text.num_tokens

    @property
    def num_reasoning_tokens(self) -> int | None:
        """Of the answer; None: the model does not reason."""
        return None if self._meter is None else self._meter.num_tokens

    def start(self, sink: Sink, on_end: Callable[[Exception | None], None]) -> None:
        """Emit the text as it comes, then call on_end, with what went wrong: EngineError, InvalidRequestError
        for a grammar that is refused. No task waits for the tokens: the engine's step calls.

        While the sink is behind (a client that reads slowly) tokens gather: their text goes out in one, or a
        few.
        """
        self._sink = sink
        self._on_end = on_end
        if self.has_ended:
            self._end(None)
        else:
            self._stream.listen(self.advance)

    def advance(self) -> None:
        """Emit what has come, if the sink takes it."""
        sink = self._sink
        if sink is None or sink.is_behind:
            return
        try:
            output = self._stream.take()
            if output is None:
                return
            text = self._take(output)
            sink.emit(self, text, self._report.take() if self._is_followed else None)
            if self.finish_reason is not None:
                self._end(None)
            elif self._stream.has_ended and not self._stream.has_waiting:  # but there is an error to be taken
                self.advance()
        except StopAsyncIteration:
            self._end(EngineError("The engine ended this request early."))
        except Exception as error:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        if isinstance(error, OctavoError):
            self.finish_reason = FinishReason.ERROR
        self.stop()
        self._on_end(error)

    def stop(self) -> None:
        """Emit nothing more."""
        self._sink = None

    def _take(self, output: RequestOutput) -> str:
        """The text it adds."""
        text_stream = self._text
        if output.token_ids:
            self._observe(len(output.token_ids))
        num_before = text_stream.num_tokens
        text = text_stream.push(output.token_ids)
        if self._is_followed:
            self._follow(output, text_stream.num_tokens - num_before)
        if output.finish_reason is not None or text_stream.is_stopped:
            text += self._finish(output)
        return text

    def _observe(self, num_next: int) -> None:
        now = self._clock()
        if self._first_token is None:
            self._first_token = self._last_token = now
            self._metrics.observe_first_token(now - self._arrival)
            num_next -= 1
        if num_next:
            self._metrics.observe_next_tokens(now - self._last_token, num_next)
        self._last_token = now

    def _follow(self, output: RequestOutput, num_new: int) -> None:
        """What is told of tokens besides their text; num_new of them belong to the answer."""
        self._report.add(output.token_ids, output.logprobs)
        self._measure(output.token_ids[:num_new])
        if self._keeps_ids:
            self._token_ids += output.token_ids
        if output.prompt_logprobs is not None:
            self.prompt_logprobs = output.prompt_logprobs
        if output.logprobs is not None:
            self._sum_logprobs += sum(output.logprobs.logprobs[:num_new])

    def _measure(self, token_ids: Sequence[int]) -> None:
        if self._meter is not None:
            self._meter.push(token_ids)

    def _finish(self, output: RequestOutput) -> str:
        """The text that was held back."""
        if self._text.is_stopped:
            self.finish_reason = FinishReason.STOP
            self._stream.abort()
            return ""
        if output.finish_reason not in (FinishReason.STOP, FinishReason.LENGTH):
            return ""  # the engine gave it up
        self.pooled = output.pooled
        self.finish_reason = output.finish_reason
        text = self._text.finish()
        if self._text.is_stopped:
            self.finish_reason = FinishReason.STOP
        return text

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


@contextlib.contextmanager
def running(generations: Sequence[Generation], sink: Sink) -> Iterator[asyncio.Future[None]]:
    """While they run side by side. What is given is done when all have ended, or with the first's error."""
    whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    num_left = len(generations)

    def on_end(error: Exception | None) -> None:
        nonlocal num_left
        num_left -= 1
        if whole.done():
            return
        if error is not None:
            whole.set_exception(error)
        elif not num_left:
            whole.set_result(None)

    try:
        for generation in generations:
            generation.start(sink, on_end)
        yield whole
    finally:
        for generation in generations:
            generation.stop()
        whole.cancel()


async def run_all(generations: Sequence[Generation], sink: Sink) -> None:
    """Run them side by side. The first that fails ends all and its error is raised."""
    with running(generations, sink) as whole:
        await whole


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
