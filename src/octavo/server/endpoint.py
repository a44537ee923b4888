"""The path of a generation request through the server, from its body to the last byte of its answer.

Raw ASGI: what is sent while tokens come passes through no response object.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol

from starlette.types import Receive, Scope, Send

from octavo.core.errors import EngineError, OctavoError, OverloadedError
from octavo.core.messages import EngineStats
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.streams import ended_stream
from octavo.http.body import ClientGone, read_json_body, run_while_connected
from octavo.http.errors import ErrorAnswer, answer_to, overloaded
from octavo.http.request_log import CLIENT_CLOSED_REQUEST, RequestRecord
from octavo.http.responses import send_error
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.server.cache_events import CacheMirror, known_prompt
from octavo.server.decoder import Body, BodyDecoder
from octavo.server.dialect import Dialect, Encoded, Envelope, Format, Request
from octavo.server.explanation import explain, no_explanation
from octavo.server.generation import Generation, run_all
from octavo.server.origin import Origin
from octavo.server.prompts import PromptEncoder
from octavo.server.served_model import ServedModel
from octavo.server.streaming import RelayedAnswer, StreamedAnswer, WholeAnswer
from octavo.server.token_report import new_report
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.text_stream import TextStream

DRAIN_RETRY_AFTER_SECONDS = 5


class Drain:
    """Whether this server takes no more requests because it is about to end."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        self.has_begun = True

    def answer(self, reason: str = "The server is shutting down.") -> ErrorAnswer:
        answer = overloaded(reason, "shutting_down", DRAIN_RETRY_AFTER_SECONDS)
        return dataclasses.replace(answer, headers=(*answer.headers, (b"connection", b"close")))


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """What answering takes: made once, in replica.py."""

    engine: EngineClient
    model: ServedModel
    prompts: PromptEncoder
    abilities: ChatAbilities
    new_text: "NewText"
    metrics: EngineMetrics
    drain: Drain
    max_body_bytes: int
    body_timeout_seconds: float
    heartbeat_seconds: float = 0.0  # between two, while a stream waits for its first token; 0: none
    secret: str | None = None  # shared with routers; None: none is trusted
    vocabulary: str = ""  # vocabulary_hash
    is_cache_shared: bool = False  # prefix-cache blocks, between keys
    cache: CacheMirror = dataclasses.field(default_factory=CacheMirror)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def is_ending(self) -> bool:
        """What fails now would not fail elsewhere."""
        return self.drain.has_begun or self.engine.fatal.done()

    def observe_step(self, epoch: int, stats: EngineStats) -> None:
        self.metrics.observe_step(stats)
        self.cache.observe_step(epoch, stats)

    async def read_body(self, scope: Scope, receive: Receive) -> bytes:
        """Raises what read_json_body does."""
        return await read_json_body(
            scope, receive, max_bytes=self.max_body_bytes, timeout_seconds=self.body_timeout_seconds
        )


class NewText(Protocol):
    def __call__(
        self,
        sampling: SamplingParams,
        *,
        skip_special_tokens: bool = True,
        shown_ids: frozenset[int] = frozenset(),
        keeps_stop: bool = False,
    ) -> TextStream:
        """shown_ids: control tokens that appear in the text even if the others do not; keeps_stop: the stop
        string that ended it appears in it."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a choice stands: its index, and that of the first choice of the same prompt."""

    index: int
    first: int
    record: RequestRecord
    origin: Origin

    @property
    def request_id(self) -> str:
        return f"{self.record.completion_id}-{self.index}"

    @property
    def fork_of(self) -> str | None:
        return f"{self.record.completion_id}-{self.first}" if self.first < self.index else None


class Intake(Generic[Body]):
    """An ASGI application that hands decoded requests, and where their answers go, to `answer`; a client that
    goes away cancels it. Errors before the first byte are raised; app.py answers them."""

    def __init__(
        self,
        decoder: BodyDecoder[Body],
        services: Services,
        answer: Callable[[Body, RequestRecord, Send, Origin], Coroutine[Any, Any, None]],
    ) -> None:
        self._decoder = decoder
        self._services = services
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        if services.drain.has_begun:
            await send_error(send, services.drain.answer())
            return
        record = RequestRecord.of(scope)
        try:
            body = await services.read_body(scope, receive)
            decoded = self._decoder.decode(body, **_implied(scope))
            record.note(decoded.recorded, decoded.unknown)
            origin = Origin.of(scope, services.secret, services.wall_clock())
            await run_while_connected(receive, self._answer(decoded.request, record, send, origin))
        except ClientGone:
            record.status = CLIENT_CLOSED_REQUEST
        except (EngineError, OverloadedError) as error:
            if services.drain.has_begun:
                await send_error(send, services.drain.answer())
            elif services.is_ending():  # the engine is gone for good: not this request's fault
                await send_error(send, services.drain.answer(str(error)))
            else:
                raise


class GenerationEndpoint(Generic[Request]):
    """An ASGI application for one dialect."""

    def __init__(self, dialect: Dialect[Request], services: Services) -> None:
        self._dialect = dialect
        self._services = services
        self._intake = Intake(dialect.decoder, services, self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._intake(scope, receive, send)

    async def _answer(self, request: Request, record: RequestRecord, send: Send, origin: Origin) -> None:
        services = self._services
        services.model.check(request.model)
        sampling = services.prompts.without(request.bad_words, request.sampling_params())
        encoded = await self._dialect.encode(request, services.prompts)
        record.allowance.take_prompt(sum(map(len, encoded.prompts)))
        if origin.prefix is not None:
            salt = origin.cache_salt(request.cache_salt, is_shared=services.is_cache_shared)
            fingerprint = services.engine.info.fingerprint
            services.cache.observe_prompt(known_prompt(origin.prefix, fingerprint, salt, encoded.prompts[0]))
        record.completion_id = self._dialect.id_prefix + origin.identity.id
        generations = self._admit(request, encoded, sampling, record, origin)
        try:
            envelope = self._envelope(request, record.completion_id, origin.identity.created)
            answer = self._sink(request, send, generations, encoded.new_format(envelope), record, origin)
            await self._generate(generations, answer)
        finally:
            for generation in generations:
                generation.close(record)
            record.allowance.take_answer(record.num_output_tokens)

    def _sink(
        self,
        request: Request,
        send: Send,
        generations: list[Generation],
        form: Format,
        record: RequestRecord,
        origin: Origin,
    ) -> StreamedAnswer | WholeAnswer:
        seed = origin.identity.seed if request.seed is None else request.seed
        why = functools.partial(explain, generations, seed) if request.explains else no_explanation
        if not request.stream:
            return WholeAnswer(send, generations, form, num_shown=request.n or 1, explain=why)
        includes_usage = request.includes_usage
        if not origin.is_relayed:
            return StreamedAnswer(
                send,
                generations,
                form,
                includes_usage=includes_usage,
                has_running_usage=request.has_running_usage,
                explain=why,
                send_body=record.send_body,
                heartbeat_seconds=self._services.heartbeat_seconds,
            )
        return RelayedAnswer(
            send,
            generations,
            form,
            includes_usage=includes_usage,
            has_running_usage=request.has_running_usage,
            explain=why,
            send_body=record.send_body,
            origin=origin,
            can_others_resume=self._services.is_ending,
        )

    def _admit(
        self,
        request: Request,
        encoded: Encoded,
        sampling: SamplingParams,
        record: RequestRecord,
        origin: Origin,
    ) -> list[Generation]:
        """Hand every choice of every prompt to the engine, or none. Raises OctavoError."""
        services = self._services
        num_choices = request.num_candidates
        services.prompts.check_choices(num_choices, len(encoded.prompts), request.num_candidates_param)
        fitted = [
            (prompt, services.prompts.fit(sampling, len(prompt), self._dialect.default_max_tokens))
            for prompt in encoded.prompts
            for _ in range(num_choices)
        ]
        is_scored_once = not request.stream and sampling.max_tokens != 0
        generations: list[Generation] = []
        try:
            for index, (prompt, params) in enumerate(fitted):
                first = index - index % num_choices  # of this prompt's choices: the others share its blocks
                if first < index and is_scored_once:
                    params = dataclasses.replace(params, prompt_logprobs=None)
                place = _Place(index, first, record, origin)
                generations.append(self._start(request, encoded, prompt, params, place))
        except OctavoError as error:
            if isinstance(error, OverloadedError):
                services.metrics.observe_rejection()
            for generation in generations:
                generation.close(record)
            raise
        return generations

    def _start(
        self,
        request: Request,
        encoded: Encoded,
        prompt: list[int],
        sampling: SamplingParams,
        place: "_Place",
    ) -> Generation:
        services, record, origin = self._services, place.record, place.origin
        progress = origin.progress.get(place.index)
        if progress is not None and progress.finish_reason is not None:
            stream = ended_stream(place.request_id)
        else:
            stream = services.engine.submit(
                prompt,
                sampling,
                request_id=place.request_id,
                seed=origin.identity.seed if sampling.seed is None else sampling.seed,
                branch=place.index,
                priority=request.priority or 0,
                salt=origin.cache_salt(request.cache_salt, is_shared=services.is_cache_shared),
                tenant=origin.tenant,
                fork_of=place.fork_of,
                grammar=encoded.grammar,
                output_token_ids=() if progress is None else progress.token_ids,
            )
        text = services.new_text(
            sampling,
            skip_special_tokens=request.skip_special_tokens is not False,
            shown_ids=encoded.shown_ids,
            keeps_stop=bool(request.include_stop_str_in_output),
        )
        has_logprobs, has_ids = request.num_logprobs is not None, bool(request.return_token_ids)
        return Generation(
            place.index,
            len(prompt),
            sampling,
            stream=stream,
            text=text,
            report=new_report(text, has_logprobs=has_logprobs, has_ids=has_ids),
            arrival=record.arrival,
            metrics=services.metrics,
            clock=services.clock,
            progress=progress,
            first=place.first,
            meter=None if encoded.new_meter is None else encoded.new_meter(),
        )

    def _envelope(self, request: Request, completion_id: str, created: int) -> Envelope:
        return Envelope(
            id=completion_id,
            created=created,
            model=request.model,
            system_fingerprint=f"fp_{self._services.engine.info.fingerprint[:12]}",
            includes_usage=request.includes_usage,
        )

    async def _generate(self, generations: list[Generation], answer: StreamedAnswer | WholeAnswer) -> None:
        try:
            with answer.waiting():
                await run_all(generations, answer.emit)
        except Exception as error:
            if not answer.has_started:
                raise
            is_ours = isinstance(error, OctavoError)
            is_draining = isinstance(error, EngineError) and self._services.drain.has_begun
            await answer.end_with_error(self._services.drain.answer() if is_draining else answer_to(error))
            if not is_ours:
                raise
        else:
            await answer.end()


def _implied(scope: Scope) -> dict[str, str]:
    """On Azure's paths the deployment's name is the model's."""
    deployment = scope.get("path_params", {}).get("deployment")
    return {} if deployment is None else {"model": deployment}
