"""Stand-ins for what is slow or far away: an engine that says what the test wants, and text that is one token
a byte."""

import asyncio
import dataclasses
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from starlette.types import ASGIApp

from octavo.core.errors import EngineError, OverloadedError
from octavo.core.messages import EngineStats, Ready, RequestOutput, Submit, TokenLogprobs
from octavo.core.request import FinishReason, Pooling
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.streams import RequestStream
from octavo.http.access import Access
from octavo.http.key_ring import KeyRing
from octavo.http.request_log import RequestLog
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.server.app import build_app
from octavo.server.prompts import MAX_TOTAL_TOKENS, PromptEncoder
from octavo.server.readiness import Readiness
from octavo.server.served_model import ServedModel
from octavo.server.services import Drain, Services
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.chat_template import ChatTemplate
from octavo.text.detokenizer import Detokenizer
from octavo.text.text_stream import TextStream
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import Vocabulary

VOCAB_SIZE = 257
MAX_MODEL_LEN = 64
END_ID = 256  # the model's end-of-turn token


class ByteVocabulary:
    """Token i below 256 is the byte i; 256 is a control token."""

    token_bytes = (*(bytes([i]) for i in range(256)), b"<end>")
    control_ids = frozenset((END_ID,))
    tokens = (*map(chr, range(256)), "<end>")
    ids: Mapping[str, int] = {token: token_id for token_id, token in enumerate(tokens)}


class ByteTokenizer:
    vocabulary = ByteVocabulary()

    def encode_prompt(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_infill(self, before: str, after: str) -> list[int]:
        return [0, *before.encode(), 1, *after.encode(), 2]

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: Sequence[int], *, skip_control: bool = True) -> str:
        spelled = b"".join(self.vocabulary.token_bytes[i] for i in token_ids)
        return spelled.decode(errors="replace")


class ByteChatTemplate:
    """A line for each message; a dash where there is to be no head of an answer."""

    source = None
    variables: frozenset[str] = frozenset()

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        lines = [f"tool:{tool['function']['name']}\n" for tool in tools]
        lines += [f"{message['role']}:{message['content']}\n" for message in messages]
        if continue_final_message:
            lines[-1] = lines[-1][:-1]
        head = "" if add_generation_prompt or continue_final_message else "-"
        return list(("".join(lines) + head).encode())


def byte_text(
    sampling: SamplingParams,
    *,
    skip_special_tokens: bool = True,
    shown_ids: frozenset[int] = frozenset(),
    keeps_stop: bool = False,
) -> TextStream:
    vocabulary = cast(Vocabulary, ByteVocabulary())
    detokenizer = Detokenizer(vocabulary, skip_control=skip_special_tokens, shown_ids=shown_ids)
    return TextStream(detokenizer, sampling.stop, min_tokens=sampling.min_tokens, keeps_stop=keeps_stop)


READY = Ready(
    epoch=0,
    max_model_len=MAX_MODEL_LEN,
    vocab_size=VOCAB_SIZE,
    num_blocks=4096,
    memory={
        "weight_bytes": 100 << 20,
        "workspace_bytes": 5 << 20,
        "sampling_bytes": 3 << 20,
        "process_bytes": 40 << 20,
        "block_bytes": 384 << 10,
        "num_blocks": 4096,
        "num_checkpoint_blocks": 512,
    },
    boot_seconds={"open model": 0.01, "pack weights": 0.25},
    fingerprint="0123456789abcdef",
    threads=2,
    isa="avx2",
    kv_tokens=65_536,
)


class FakeEngine:
    """EngineClient's public face. Answers every request with `answer`, or waits for the test when that is
    None."""

    def __init__(self, answer: bytes | None = b"Hello") -> None:
        self.answer = answer
        self.probe_answer = b"abcd"
        self.info = READY
        self.stats = EngineStats()
        self.is_ready = True
        self.num_restarts = 0
        self.seconds_since_progress = 0.0
        self.fatal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_step: Callable[[int, EngineStats], None] = lambda epoch, stats: None
        self.is_full = False
        self.is_closed = False
        self.submitted: list[Submit] = []  # probes apart
        self.streams: list[RequestStream] = []
        self.aborted: list[str] = []
        self.num_probes = 0
        self.arrived = asyncio.Event()  # a request was submitted
        self.abort_seen = asyncio.Event()

    def submit(self, prompt_token_ids: list[int], sampling: SamplingParams, **options: Any) -> RequestStream:
        if self.is_full and not options.get("is_probe"):
            raise OverloadedError("The queue is full.", retry_after_seconds=7)
        output_token_ids = options.pop("output_token_ids", ())
        submission = Submit(
            token_ids=[*prompt_token_ids, *output_token_ids],
            num_prompt_tokens=len(prompt_token_ids),
            sampling=sampling,
            arrival=0.0,
            **options,
        )
        stream = RequestStream(submission, on_abort=self._on_abort)
        if submission.is_probe:
            self.num_probes += 1
            send(stream, self.probe_answer, FinishReason.LENGTH)
            return stream
        self.submitted.append(msgspec.structs.replace(submission, token_ids=list(submission.token_ids)))
        self.streams.append(stream)
        if submission.pooling is not None:
            send_pooled(stream, submission)
        elif sampling.max_tokens == 0:
            send(stream, b"", FinishReason.LENGTH)
        elif self.answer is not None:
            for byte in self.answer[len(output_token_ids) :]:
                send(stream, bytes([byte]))
            send(stream, b"", FinishReason.STOP)
        self.arrived.set()
        return stream

    def _on_abort(self, stream: RequestStream) -> None:
        self.aborted.append(stream.request_id)
        self.abort_seen.set()

    async def drain(self, seconds: float) -> int:
        while self.num_live and seconds > 0:
            await asyncio.sleep(0.01)
            seconds -= 0.01
        return self.num_live

    async def close(self) -> None:
        self.is_closed = True
        for stream in self.streams:
            if not stream.has_ended:
                stream.fail(EngineError("The server is shutting down."))

    @property
    def num_live(self) -> int:
        return sum(not stream.has_ended for stream in self.streams)


class PacedEngine(FakeEngine):
    """Generates a token at a time, `pace` seconds apart, so that each is emitted by itself."""

    def __init__(self, answer: bytes, pace: float = 0.0) -> None:
        super().__init__(None)
        self.whole_answer = answer
        self.pace = pace
        self.num_sent = 0
        self.hang_after: int | None = None  # tokens in all, after which nothing comes
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, prompt_token_ids: list[int], sampling: SamplingParams, **options: Any) -> RequestStream:
        num_known = len(options.get("output_token_ids", ()))
        stream = super().submit(prompt_token_ids, sampling, **options)
        if not stream.is_probe:
            task = asyncio.create_task(self._generate(stream, self.whole_answer[num_known:]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return stream

    async def _generate(self, stream: RequestStream, answer: bytes) -> None:
        for byte in answer:
            await asyncio.sleep(self.pace)
            if stream.has_ended or self.num_sent == self.hang_after:
                return
            self.num_sent += 1
            send(stream, bytes([byte]))
        send(stream, b"", FinishReason.STOP)


def send(stream: RequestStream, token_bytes: bytes, finish_reason: FinishReason | None = None) -> None:
    """The engine generated these tokens."""
    asked = stream.submission("", is_suspect=False)
    scored = asked.token_ids[1 : asked.num_prompt_tokens]
    stream.accept(
        RequestOutput(
            request_id=stream.request_id,
            first_index=stream.num_output_tokens,
            token_ids=list(token_bytes),
            finish_reason=finish_reason,
            num_cached_tokens=2,
            queue_seconds=0.25,
            prefill_seconds=0.5,
            logprobs=fake_logprobs(token_bytes, asked.sampling.logprobs),
            prompt_logprobs=fake_logprobs(scored, asked.sampling.prompt_logprobs),
        ),
        now=0.0,
    )


def send_pooled(stream: RequestStream, submission: Submit) -> None:
    """A token's hidden state is (its id, 1)."""
    ids = submission.token_ids
    first = ids[-1] if submission.pooling is Pooling.LAST else sum(ids) / len(ids)
    pooled = struct.pack("<2f", first, 1)
    output = RequestOutput(stream.request_id, 0, [], FinishReason.LENGTH, pooled=pooled)
    stream.accept(output, now=0.0)


def fake_logprobs(token_ids: Sequence[int], num_top: int | None) -> TokenLogprobs | None:
    """Token n is as probable as exp(-n / 256), and second to its successor."""
    if num_top is None:
        return None
    tops = [[(i + 1) % VOCAB_SIZE, i, *range(num_top)][:num_top] for i in token_ids]
    logprobs = [-i / 256 for i in token_ids]
    return TokenLogprobs(logprobs, [2] * len(logprobs), tops, [[-i / 256 for i in top] for top in tops])


@dataclasses.dataclass
class FakeReplica:
    """A whole server on a fake engine, and what it logs."""

    engine: Any
    services: Services
    drain: Drain
    metrics: EngineMetrics
    readiness: Readiness
    log: io.StringIO
    app: ASGIApp


def fake_replica(
    engine: FakeEngine | EngineClient,
    *,
    api_key: str | None = None,
    max_body_bytes: int = 1 << 20,
    body_timeout_seconds: float = 5.0,
    secret: str | None = None,
    vocabulary: str = "",
    allows_unknown_fields: bool = False,
    key_ring: KeyRing | None = None,
    access: dict[str, Any] | None = None,
    heartbeat_seconds: float = 0.0,
    is_cache_shared: bool = False,
    abilities: ChatAbilities = ChatAbilities(),  # noqa: B008
    chat_template: Any = ByteChatTemplate(),  # noqa: B008
    max_total_tokens: int = MAX_TOTAL_TOKENS,
    **readiness_options: Any,
) -> FakeReplica:
    client = cast(Any, engine)
    drain = Drain()
    max_model_len = engine.info.max_model_len
    metrics = EngineMetrics(model_name="tiny", max_model_len=max_model_len, cache_config={"block_size": "16"})
    services = Services(
        engine=client,
        model=ServedModel(("tiny", "alias"), created=1_700_000_000, max_model_len=max_model_len),
        prompts=PromptEncoder(
            cast(Tokenizer, ByteTokenizer()),
            cast(ChatTemplate, chat_template),
            VOCAB_SIZE,
            max_model_len,
            max_total_tokens=max_total_tokens,
        ),
        abilities=abilities,
        new_text=byte_text,
        metrics=metrics,
        drain=drain,
        max_body_bytes=max_body_bytes,
        body_timeout_seconds=body_timeout_seconds,
        secret=secret,
        vocabulary=vocabulary,
        is_cache_shared=is_cache_shared,
        heartbeat_seconds=heartbeat_seconds,
    )
    engine.on_step = services.observe_step
    readiness = Readiness(client, drain, [1, 2, 3], **readiness_options)
    output = io.StringIO()
    log = RequestLog(is_json=True, is_coloured=False, output=output)
    app = build_app(
        services,
        readiness,
        access=Access(key_ring or KeyRing(api_key), **(access or {})),
        log=log,
        allows_unknown_fields=allows_unknown_fields,
    )
    return FakeReplica(engine, services, drain, metrics, readiness, output, app)
