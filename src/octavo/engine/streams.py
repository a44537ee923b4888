"""One request as the server sees it: its tokens so far, and how they reach whoever asked for them.

A stream outlives engines. What it keeps is all that a new engine needs to go on where the last one died, and
its consumer sees one unbroken sequence of tokens. Runs in the server's event loop; knows nothing of sockets.
"""

import asyncio
import dataclasses
from collections.abc import Callable

import msgspec

from octavo.core.errors import EngineError, InvalidRequestError, OctavoError, OverloadedError
from octavo.core.messages import OVERLOAD_RETRY_SECONDS, OVERLOADED, RequestOutput, Submit, TokenLogprobs
from octavo.core.sampling_params import SamplingParams

MAX_TAKEN = 32  # tokens at once: where more wait, for a client that read slowly, others have a turn between


class TokenGap(Exception):
    """The engine sent a token whose predecessor it never sent: a fault of the engine."""


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """What the first engine said about taking the request in; a resumption does not change it."""

    num_cached_tokens: int
    queue_seconds: float
    prefill_seconds: float


class Deliveries:
    """Calls listeners, all of them in one turn of the event loop.

    What several steps gave a stream by then is taken as one, and no task is woken for it.
    """

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def add(self, listener: Callable[[], None]) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._run)
        self._due.append(listener)

    def _run(self) -> None:
        due, self._due = self._due, []
        for listener in due:
            listener()


class RequestStream:
    """What the engine sends for one request, for one consumer, which listens or iterates.

    Ends after the output with a finish_reason, or after abort(). Raises EngineError for a request that failed
    for good, InvalidRequestError for one whose grammar is refused, OverloadedError for one whose grammar had
    no turn in time. Tokens that come faster than they are consumed wait here, bounded by the request's own
    length, and are given out MAX_TAKEN together.
    """

    def __init__(
        self,
        submission: Submit,
        on_abort: "Callable[[RequestStream], None]",
        deliveries: Deliveries | None = None,
    ) -> None:
        """submission is the request as first sent, and owned by the stream from here on: its token_ids grow.

        on_abort is called once, when the consumer gives up.
        """
        self.request_id = submission.request_id
        self.is_probe = submission.is_probe
        self.fork_of = submission.fork_of
        self.tenant = submission.tenant
        self.last_progress = submission.arrival  # monotonic seconds: of the newest token, or of the arrival
        self.num_steps = 0  # of an engine, that gave it tokens
        self._submission = submission
        self._on_abort = on_abort
        self._token_ids = submission.token_ids  # prompt, then the answer so far
        self._num_prompt_tokens = submission.num_prompt_tokens
        self.admission: Admission | None = None  # None before the first output
        self._num_preemptions_before = 0  # in engines that have died
        self._num_preemptions = 0  # in the present one
        self._prompt_logprobs = TokenLogprobs()
        self._waiting: RequestOutput | None = None  # for the consumer
        self._error: OctavoError | None = None
        self.has_ended = False  # no more tokens will be accepted; some may still wait for the consumer
        self._listener: Callable[[], None] | None = None
        self._deliveries = deliveries or Deliveries()

    @property
    def num_output_tokens(self) -> int:
        return len(self._token_ids) - self._num_prompt_tokens

    @property
    def num_preemptions(self) -> int:
        """In whatever engines."""
        return self._num_preemptions_before + self._num_preemptions

    def listen(self, listener: Callable[[], None]) -> None:
        """Call it, in another turn of the event loop, when there is something to take, the end included; once
        more only after it was taken, if it was not all. It must not raise: others wait for theirs.
        """
        self._listener = listener
        if self._waiting is not None or self.has_ended:
            self._announce()

    def take(self) -> RequestOutput | None:
        """What has come since the last call, as one, as far as it is no more than MAX_TAKEN tokens; None:
        nothing has, yet. Raises the request's error, or StopAsyncIteration, after the last."""
        output = self._waiting
        if output is not None:
            self._waiting = None
            if output.token_ids[MAX_TAKEN:]:
                self._waiting = _cut(output, MAX_TAKEN)
                self._announce()
        elif self._error is not None:
            raise self._error
        elif self.has_ended:
            raise StopAsyncIteration
        return output

    @property
    def has_waiting(self) -> bool:
        """There is more to take than an error, or the end."""
        return self._waiting is not None

    def _announce(self) -> None:
        if self._listener is not None:
            self._deliveries.add(self._listener)

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> RequestOutput:
        while (output := self.take()) is None:
            turn = asyncio.Event()
            self.listen(turn.set)
            await turn.wait()
        return output

    def abort(self) -> None:
        """The consumer is gone: the engine frees the request's blocks within a step. Idempotent."""
        if not self.has_ended:
            self._end()
            self._on_abort(self)
        self._waiting = self._listener = None

    def submission(self, wire_id: str, *, is_suspect: bool, fork_of: str | None = None) -> Submit:
        """The request with the tokens so far (the list itself), for an engine that has not seen it.

        fork_of: the wire id of the request it is a fork of.
        """
        self._num_preemptions_before += self._num_preemptions
        self._num_preemptions = 0
        submission = self._submission
        if self.num_output_tokens:  # its prompt's logprobs are known: not to be scored again
            sampling = dataclasses.replace(submission.sampling, prompt_logprobs=None)
            submission = msgspec.structs.replace(submission, sampling=sampling)
        return msgspec.structs.replace(submission, request_id=wire_id, is_suspect=is_suspect, fork_of=fork_of)

    def accept(self, output: RequestOutput, now: float) -> None:
        """Take what the engine sent; the output is the stream's from here on. Known tokens are dropped;
        raises TokenGap when some are missing.
        """
        num_known = len(self._token_ids) - self._num_prompt_tokens - output.first_index
        if num_known < 0 and output.token_ids:
            last = self.num_output_tokens - 1
            raise TokenGap(f"token {output.first_index} of request {self.request_id} came after token {last}")
        if output.error is not None:
            self.fail(self._error_of(output.error, output.error_code))
            return
        if num_known:
            output.token_ids = output.token_ids[num_known:]
            output.first_index += num_known
            output.logprobs = output.logprobs and output.logprobs.beyond(num_known)
        if output.prompt_logprobs is not None:
            self._take_prompt_logprobs(output.prompt_logprobs, output.first_prompt_index)
            output.prompt_logprobs = None
        if output.finish_reason is not None:
            self.has_ended = True
        elif not output.token_ids:
            return
        if self.admission is None:
            self._admit(output)
        if output.token_ids:
            self._token_ids += output.token_ids
            self.num_steps += 1
        self._num_preemptions = output.num_preemptions
        self.last_progress = now
        if self._waiting is not None:
            _extend(self._waiting, output)
            return
        self._waiting = output
        if self._listener is not None:
            self._deliveries.add(self._listener)

    def _admit(self, output: RequestOutput) -> None:
        self.admission = Admission(output.num_cached_tokens, output.queue_seconds, output.prefill_seconds)
        if self._submission.sampling.prompt_logprobs is not None and not output.first_index:
            output.prompt_logprobs = self._prompt_logprobs

    def _take_prompt_logprobs(self, logprobs: TokenLogprobs, first_index: int) -> None:
        """They come in chunks, again after a crash; the consumer gets them whole, with its first output."""
        num_known = len(self._prompt_logprobs) + 1 - first_index
        if num_known < 0:
            raise TokenGap(f"logprobs of prompt tokens of request {self.request_id} are missing")
        self._prompt_logprobs.extend(logprobs.beyond(num_known))

    def _error_of(self, message: str, code: str | None) -> OctavoError:
        if code is None:
            return EngineError(message)
        if code == OVERLOADED:
            return OverloadedError(message, retry_after_seconds=OVERLOAD_RETRY_SECONDS)
        grammar = self._submission.grammar
        field = None if grammar is None else grammar.field
        message = message if field is None else f"{field}: {message}"
        return InvalidRequestError(message, param=field, code=code)

    def fail(self, error: OctavoError) -> None:
        """The request cannot be completed; its consumer gets the tokens so far, then the error."""
        self._error = error
        self._end()

    def _end(self) -> None:
        self.has_ended = True
        self._announce()


def _extend(waiting: RequestOutput, output: RequestOutput) -> None:
    """The output that comes next, added to one that nobody has taken yet."""
    waiting.token_ids += output.token_ids
    waiting.finish_reason = output.finish_reason
    waiting.pooled = output.pooled
    if waiting.logprobs is None:
        waiting.logprobs = output.logprobs
    elif output.logprobs is not None:
        waiting.logprobs.extend(output.logprobs)


def _cut(output: RequestOutput, count: int) -> RequestOutput:
    """What lies beyond its first count tokens, and is taken from it; the end is there."""
    logprobs = output.logprobs
    rest = msgspec.structs.replace(
        output,
        first_index=output.first_index + count,
        token_ids=output.token_ids[count:],
        logprobs=None if logprobs is None else logprobs.beyond(count),
        prompt_logprobs=None,
    )
    output.token_ids = output.token_ids[:count]
    output.logprobs = None if logprobs is None else logprobs.first(count)
    output.finish_reason = output.pooled = None
    return rest


def ended_stream(request_id: str) -> RequestStream:
    """Of a request that was completed elsewhere: nothing comes."""
    nothing = Submit(request_id, [], 0, SamplingParams(), seed=0, arrival=0.0)
    stream = RequestStream(nothing, on_abort=lambda _: None)
    stream.abort()
    return stream
