"""Prompts that are computed for what they tell, not to be continued: embeddings and scores.

An ASGI application: a JSON body in, one JSON body out.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic

import msgspec
from starlette.types import Receive, Scope, Send

from octavo.core.errors import OctavoError, OverloadedError
from octavo.core.request import Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.http.request_log import RequestRecord
from octavo.http.responses import send_json
from octavo.server.decoder import Body, BodyDecoder
from octavo.server.generation import Generation, run_all
from octavo.server.intake import Intake
from octavo.server.origin import Origin
from octavo.server.parameters import Api, Kind, Parameter, parameters_of
from octavo.server.services import Services
from octavo.server.token_report import ReportedTokens


class PromptUsage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompts: Iterable[Sequence[int]]) -> "PromptUsage":
        count = sum(map(len, prompts))
        return cls(count, count)


@dataclasses.dataclass(frozen=True, slots=True)
class PromptRun:
    """What the engine is asked: an embedding of the prompt, or a token after it."""

    token_ids: list[int]
    sampling: SamplingParams
    pooling: Pooling | None = None


class PromptRunner:
    """Of one HTTP request."""

    def __init__(self, services: Services, record: RequestRecord, origin: Origin) -> None:
        self._services = services
        self._record = record
        self._origin = origin
        self._num_started = 0

    async def run(self, groups: Sequence[Sequence[PromptRun]]) -> list[list[Generation]]:
        """Runs of one group have the same prompt, which is computed once. So many at once as the server takes
        choices of one request. Raises OctavoError; the first failure ends all."""
        prompts = [group[0].token_ids for group in groups]
        allowance, num_tokens = self._record.allowance, sum(map(len, prompts))
        allowance.take_prompt(num_tokens)
        results: list[list[Generation]] = []
        try:
            while len(results) < len(groups):
                size = max(1, self._services.prompts.max_prompts // len(groups[len(results)]))
                results += await self._run_wave(groups[len(results) : len(results) + size])
        except OverloadedError:
            if not results:
                allowance.return_prompt(num_tokens)
            raise
        finally:
            allowance.take_answer(self._record.num_output_tokens)
        return results

    async def _run_wave(self, groups: Sequence[Sequence[PromptRun]]) -> list[list[Generation]]:
        started: list[list[Generation]] = []
        try:
            for group in groups:
                started.append([])
                for run in group:
                    started[-1].append(self._start(run, started[-1]))
                await asyncio.sleep(0)  # to hand over many long prompts holds up nobody's stream
            await run_all([generation for group in started for generation in group], _Unheard())
        except OctavoError as error:
            if isinstance(error, OverloadedError):
                self._services.metrics.observe_rejection()
            raise
        finally:
            for generation in (generation for group in started for generation in group):
                generation.close(self._record)
        return started

    def _start(self, run: PromptRun, group: Sequence[Generation]) -> Generation:
        services, origin, name = self._services, self._origin, self._record.completion_id
        index = self._num_started
        self._num_started += 1
        first = group[0].index if group else index
        stream = services.engine.submit(
            run.token_ids,
            run.sampling,
            request_id=f"{name}-{index}",
            seed=origin.identity.seed,
            branch=index,
            salt=origin.cache_salt(None, is_shared=services.is_cache_shared),
            tenant=origin.tenant,
            fork_of=f"{name}-{first}" if group else None,
            pooling=run.pooling,
        )
        return Generation(
            index,
            len(run.token_ids),
            run.sampling,
            stream=stream,
            text=services.new_text(run.sampling),
            arrival=self._record.arrival,
            metrics=services.metrics,
            clock=services.clock,
            first=first,
        )


class _Unheard:
    """What is asked of these prompts is no text."""

    is_behind = False

    def emit(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> None:
        pass


Answer = Callable[[Body, PromptRunner, str], Awaitable[object]]
"""(the request, what runs its prompts, the answer's id): the answer's JSON."""


class PromptEndpoint(Generic[Body]):
    def __init__(
        self,
        kind: type[Body],
        services: Services,
        answer: Answer[Body],
        *,
        id_prefix: str,
        allows_unknown: bool,
    ) -> None:
        decoder = BodyDecoder(kind, _recorded(), allows_unknown=allows_unknown)
        self._intake = Intake(decoder, services, self._run)
        self._services = services
        self._answer = answer
        self._id_prefix = id_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._intake(scope, receive, send)

    async def _run(self, request: Body, record: RequestRecord, send: Send, origin: Origin) -> None:
        record.completion_id = self._id_prefix + origin.identity.id
        runner = PromptRunner(self._services, record, origin)
        answer = await self._answer(request, runner, record.completion_id)
        await send_json(send, 200, msgspec.json.encode(answer))


def _recorded() -> dict[str, Parameter]:
    every = parameters_of(Api.COMPLETIONS)
    return {name: parameter for name, parameter in every.items() if parameter.kind is Kind.RECORDED}
