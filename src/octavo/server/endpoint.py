"""The path of a generation request through the server, from its body to the last byte of its answer.

Raw ASGI: what is sent while tokens come passes through no response object.
"""

import dataclasses
import functools
from typing import Generic

from starlette.types import Receive, Scope, Send

from octavo.core.errors import EngineError, OctavoError, OverloadedError
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import ended_stream
from octavo.http.errors import answer_to
from octavo.http.request_log import RequestRecord
from octavo.server.bounds import check_bounds
from octavo.server.cache_events import known_prompt
from octavo.server.dialect import Dialect, Encoded, Envelope, Format, Request
from octavo.server.explanation import explain, no_explanation
from octavo.server.generation import Generation
from octavo.server.intake import Intake
from octavo.server.origin import Origin
from octavo.server.services import Services
from octavo.server.streaming import RelayedAnswer, StreamedAnswer, StreamExtras, WholeAnswer
from octavo.server.token_report import new_report


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
        num_prompt_tokens = sum(map(len, encoded.prompts))
        record.allowance.take_prompt(num_prompt_tokens)
        if origin.prefix is not None:
            salt = origin.cache_salt(request.cache_salt, is_shared=services.is_cache_shared)
            fingerprint = services.engine.info.fingerprint
            services.cache.observe_prompt(known_prompt(origin.prefix, fingerprint, salt, encoded.prompts[0]))
        record.completion_id = self._dialect.id_prefix + origin.identity.id
        try:
            generations = self._admit(request, encoded, sampling, record, origin)
        except OctavoError:
            record.allowance.return_prompt(num_prompt_tokens)
            raise
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
        outlet, heartbeat_seconds = record.stream_outlet(), self._services.heartbeat_seconds
        extras = StreamExtras(request.includes_usage, request.has_running_usage, why)
        if not origin.is_relayed:
            return StreamedAnswer(
                send, outlet, generations, form, extras, heartbeat_seconds=heartbeat_seconds
            )
        return RelayedAnswer(
            *self._services.channels.way(origin.ticket, send, outlet),
            generations,
            form,
            extras,
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
        check_bounds(fitted)
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
        place: _Place,
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
            keeps_ids=origin.is_relayed,
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
            await answer.run()
        except Exception as error:
            if not answer.has_started:
                raise
            is_ours = isinstance(error, OctavoError)
            is_draining = isinstance(error, EngineError) and self._services.drain.has_begun
            await answer.end_with_error(self._services.drain.answer() if is_draining else answer_to(error))
            if not is_ours:
                raise
