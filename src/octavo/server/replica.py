"""Starts what a server serves: engine and text side by side, and the application on top of them."""

import asyncio
import dataclasses
import functools
import time

from starlette.types import ASGIApp

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.errors import EngineError, StartError
from octavo.core.messages import Ready
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.model_files import TextModel, open_text
from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.server.app import build_app
from octavo.server.boot_report import Phases
from octavo.server.options import ServeOptions
from octavo.server.prompts import MAX_PROMPTS, PromptEncoder
from octavo.server.readiness import Readiness
from octavo.server.served_model import ServedModel
from octavo.server.services import Drain, Services
from octavo.text.chat_abilities import ChatAbilities, abilities_of
from octavo.text.detokenizer import Detokenizer
from octavo.text.text_stream import TextStream
from octavo.text.vocabulary import vocabulary_hash

BODY_TIMEOUT_SECONDS = 30.0
PROBE_TEXT = "The capital of France is"


@dataclasses.dataclass(frozen=True, slots=True)
class Replica:
    engine: EngineClient
    drain: Drain
    model: ServedModel
    abilities: ChatAbilities
    app: ASGIApp


async def start_replica(
    options: ServeOptions, starting: asyncio.Task[EngineClient], phases: Phases
) -> Replica:
    """What the engine that is starting is served by. Raises StartError.

    Whatever it raises, and when it is cancelled, no engine is left running.
    """
    opening = asyncio.create_task(asyncio.to_thread(open_text, options.model_path))
    try:
        access = _access(options)
        engine = await starting
    except BaseException:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await _end(starting)
        raise
    phases.lap("engine")
    try:
        text = await opening
        phases.lap("text")
        replica = await _wire(options, engine, text, access)
        phases.lap("first answer")
    except EngineError as error:
        await engine.close()
        raise StartError(f"The engine started and failed its first request: {error}") from error
    except BaseException:
        await engine.close()
        raise
    return replica


async def _end(starting: asyncio.Task[EngineClient]) -> None:
    starting.cancel()
    await asyncio.wait((starting,))
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().close()


def _access(options: ServeOptions) -> Access:
    server = options.server
    key_ring = KeyRing.of(server.api_key or options.environment.api_key, server.api_key_file)
    return Access(key_ring, server.allowed_hosts, server.allowed_origins)


async def _wire(options: ServeOptions, engine: EngineClient, text: TextModel, access: Access) -> Replica:
    drain = Drain()
    model = ServedModel(options.names, int(time.time()), engine.info.max_model_len)
    metrics = _metrics(options, engine.info)
    max_requests = options.engine.max_num_seqs + options.engine.max_num_queued_requests
    secret = options.environment.secret
    services = Services(
        engine=engine,
        model=model,
        prompts=PromptEncoder(
            text.tokenizer,
            text.chat_template,
            engine.info.vocab_size,
            engine.info.max_model_len,
            max_prompts=min(MAX_PROMPTS, max_requests),
        ),
        abilities=abilities_of(
            text.chat_template, text.tokenizer.vocabulary, tool_call_parser=options.server.tool_call_parser
        ),
        new_text=functools.partial(_new_text, text),
        metrics=metrics,
        drain=drain,
        max_body_bytes=options.server.max_body_bytes,
        body_timeout_seconds=BODY_TIMEOUT_SECONDS,
        heartbeat_seconds=options.server.heartbeat_seconds,
        secret=secret,
        vocabulary=vocabulary_hash(text.tokenizer.vocabulary.token_bytes) if secret else "",
        is_cache_shared=options.server.prefix_cache_scope == "shared",
    )
    engine.on_step = services.observe_step
    room = engine.info.max_model_len - 1
    readiness = Readiness(engine, drain, text.tokenizer.encode_prompt(PROBE_TEXT)[:room])
    await readiness.record()
    log = RequestLog(
        is_json=options.server.log_format == "json",
        is_coloured=options.is_terminal and not options.environment.no_color,
    )
    app = build_app(
        services,
        readiness,
        access=access,
        log=log,
        allows_unknown_fields=options.server.unknown_fields == "warn",
    )
    return Replica(engine, drain, model, services.abilities, app)


def _new_text(
    text: TextModel,
    sampling: SamplingParams,
    *,
    skip_special_tokens: bool = True,
    shown_ids: frozenset[int] = frozenset(),
    keeps_stop: bool = False,
) -> TextStream:
    vocabulary = text.tokenizer.vocabulary
    detokenizer = Detokenizer(vocabulary, skip_control=skip_special_tokens, shown_ids=shown_ids)
    return TextStream(detokenizer, sampling.stop, min_tokens=sampling.min_tokens, keeps_stop=keeps_stop)


def _metrics(options: ServeOptions, info: Ready) -> EngineMetrics:
    return EngineMetrics(
        model_name=options.names[0],
        max_model_len=info.max_model_len,
        cache_config={
            "block_size": str(BLOCK_SIZE),
            "cache_dtype": info.kv_dtype,
            "activation_dtype": info.activation_dtype,
            "num_gpu_blocks": str(info.num_blocks),  # vLLM's name for the blocks of the KV cache
            "num_cpu_blocks": str(info.memory["num_checkpoint_blocks"]),
            "enable_prefix_caching": str(options.engine.enable_prefix_caching),
        },
    )
