"""A choice's tokens become text, once each; what it took is accounted for, once."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from octavo.core.errors import EngineError
from octavo.core.messages import RequestOutput, Submit
from octavo.core.relay import ChoiceProgress
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import Deliveries, RequestStream
from octavo.http.request_log import RequestRecord
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.server.generation import Generation, run_all, running, usage_of
from octavo.server.schema import CompletionTokensDetails
from octavo.server.token_report import ReportedTokens
from octavo.text.reasoning import REASONING_TAGS
from octavo.text.reasoning_meter import ReasoningMeter
from tests.fakes import byte_text, send

pytestmark = pytest.mark.asyncio


class Ticking:
    """Each look at it takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def metrics() -> EngineMetrics:
    return EngineMetrics(model_name="m", max_model_len=64, cache_config={})


def record() -> RequestRecord:
    return RequestRecord("id", "POST", "/", arrival=0.0)


def generation(
    *,
    index: int = 0,
    stop: tuple[str, ...] = (),
    measured: EngineMetrics | None = None,
    deliveries: Deliveries | None = None,
    **fields: Any,
) -> tuple[Generation, RequestStream]:
    sampling = SamplingParams(stop=stop, max_tokens=20)
    submission = Submit("r", [1, 2], 2, sampling, seed=0, arrival=0.0)
    stream = RequestStream(submission, lambda _: None, deliveries)
    made = Generation(
        *(index, 2, sampling),
        stream=stream,
        text=byte_text(sampling),
        arrival=0.0,
        metrics=measured or metrics(),
        clock=Ticking(),
        **fields,
    )
    return made, stream


class Texts:
    """A sink that keeps what it gets, and is behind when it is told so."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.is_behind = False

    def emit(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> None:
        self.texts.setdefault(generation.index, []).append(text)


async def texts_of(made: Generation) -> list[str]:
    sink = Texts()
    await run_all([made], sink)
    return sink.texts[0]


async def test_tokens_that_wait_leave_together() -> None:
    made, stream = generation()
    for byte in b"abc":
        send(stream, bytes([byte]))
    send(stream, b"", FinishReason.LENGTH)
    assert await texts_of(made) == ["abc"]
    assert (made.finish_reason, made.num_output_tokens) == (FinishReason.LENGTH, 3)


def meter() -> ReasoningMeter:
    """Each byte is a token."""
    return ReasoningMeter(REASONING_TAGS[0], [bytes((byte,)) for byte in range(256)], is_open=True)


@pytest.mark.parametrize("num_before", (0, 1, 4, 9, 13))
async def test_reasoning_is_counted_once_wherever_another_replica_stopped(num_before: int) -> None:
    answer = b"Hm.</think>ab!c"
    progress = ChoiceProgress(0, list(answer[:num_before]), num_characters=num_before) if num_before else None
    made, stream = generation(meter=meter(), progress=progress)
    assert made.num_reasoning_tokens == (3 if num_before > 11 else num_before)  # no more is known yet
    send(stream, answer[num_before:], FinishReason.STOP)
    await texts_of(made)
    usage = usage_of([made])
    assert usage.completion_tokens_details == CompletionTokensDetails(3)
    assert usage.completion_tokens == len(answer)


async def test_reasoning_behind_a_stop_string_is_none_of_the_answer() -> None:
    made, stream = generation(stop=("stop",), meter=meter())
    send(stream, b"a stop b", FinishReason.LENGTH)
    await texts_of(made)
    assert made.num_reasoning_tokens == made.num_output_tokens == 6
    assert usage_of([generation()[0]]).completion_tokens_details is None


async def test_the_first_token_is_emitted_though_its_text_is_held_back() -> None:
    made, stream = generation()
    sink = Texts()
    with running([made], sink) as whole:
        send(stream, "é".encode()[:1])
        await asyncio.sleep(0)
        assert sink.texts == {0: [""]}
        send(stream, "é".encode()[1:], FinishReason.STOP)
        await whole
    assert sink.texts == {0: ["", "é"]}


async def test_while_its_sink_is_behind_tokens_gather() -> None:
    made, stream = generation()
    sink = Texts()
    with running([made], sink) as whole:
        for byte in b"abc":
            sink.is_behind = byte != ord("a")
            send(stream, bytes([byte]))
            await asyncio.sleep(0)
        stream.fail(EngineError("broken"))
        await asyncio.sleep(0)
        assert not whole.done() and sink.texts == {0: ["a"]}
        sink.is_behind = False
        made.advance()
        assert sink.texts == {0: ["a", "bc"]}
        with pytest.raises(EngineError, match="broken"):
            await whole


async def test_what_a_sink_raises_ends_it_and_not_the_others() -> None:
    class Broken(Texts):
        def emit(self, generation: Generation, text: str, tokens: ReportedTokens | None) -> None:
            raise ZeroDivisionError

    deliveries = Deliveries()
    (broken, first), (whole, second) = generation(deliveries=deliveries), generation(deliveries=deliveries)
    sink = Texts()
    with running([broken], Broken()) as failing, running([whole], sink) as ending:
        for stream in (first, second):
            send(stream, b"a", FinishReason.STOP)
        await ending
        with pytest.raises(ZeroDivisionError):
            await failing
    assert sink.texts == {0: ["a"]}


async def test_nothing_is_emitted_once_it_is_over() -> None:
    made, stream = generation()
    sink = Texts()
    with running([made], sink) as whole:
        pass
    send(stream, b"a")
    await asyncio.sleep(0)
    assert whole.cancelled() and not sink.texts


async def test_an_unfinished_character_at_the_end_is_told() -> None:
    made, stream = generation()
    send(stream, b"a\xc3", FinishReason.LENGTH)
    assert await texts_of(made) == ["a\ufffd"]


async def test_a_stop_string_ends_it_whatever_else_was_generated() -> None:
    made, stream = generation(stop=("END",))
    send(stream, b"one END two")
    assert await texts_of(made) == ["one "]
    assert stream.has_ended
    assert (made.finish_reason, made.num_output_tokens) == (FinishReason.STOP, 7)


async def test_failure_is_an_error_and_counted_as_one() -> None:
    measured, log = metrics(), record()
    made, stream = generation(measured=measured)
    stream.fail(EngineError("broken"))
    with pytest.raises(EngineError, match="broken"):
        await texts_of(made)
    made.close(log)
    assert log.finish_reason == "error"


async def test_it_is_accounted_for_once() -> None:
    measured, log = metrics(), record()
    made, stream = generation(measured=measured)
    send(stream, b"ab")
    reading = asyncio.create_task(texts_of(made))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    send(stream, b"c", FinishReason.STOP)
    await reading
    for _ in range(2):
        made.close(log)
    assert (log.num_prompt_tokens, log.num_cached_tokens, log.num_output_tokens) == (2, 2, 3)
    assert (log.queue_seconds, log.prefill_seconds, log.first_token_seconds) == (0.25, 0.5, 1.0)
    rendered = measured.render().decode()
    labels = '{engine="0",model_name="m"}'
    assert f"vllm:time_to_first_token_seconds_sum{labels} 1.0" in rendered
    assert f"vllm:inter_token_latency_seconds_count{labels} 2.0" in rendered
    assert f"vllm:request_decode_time_seconds_sum{labels} 1.0" in rendered
    assert f"vllm:e2e_request_latency_seconds_count{labels} 1.0" in rendered


async def test_tokens_that_come_with_the_first_did_not_wait_for_it() -> None:
    """As where the server was busy for two steps: between them lies no time that anybody can see."""
    measured = metrics()
    made, stream = generation(measured=measured)
    send(stream, b"abcd")
    send(stream, b"ef", FinishReason.LENGTH)
    await texts_of(made)
    rendered = measured.render().decode()
    labels = '{engine="0",model_name="m"}'
    assert f"vllm:inter_token_latency_seconds_count{labels} 5.0" in rendered
    assert f"vllm:inter_token_latency_seconds_sum{labels} 0.0" in rendered


async def test_closing_early_frees_the_engine_and_counts_an_abort() -> None:
    log = record()
    made, stream = generation()
    made.close(log)
    assert stream.has_ended
    assert log.finish_reason == "abort"


async def test_what_is_closed_waits_for_no_collection() -> None:
    made, stream = generation()
    send(stream, b"a", FinishReason.STOP)
    gc.disable()
    try:
        assert await texts_of(made) == ["a"]
        made.close(record())
        left = weakref.ref(made)
        del made, stream
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()


async def test_usage_adds_up_the_choices() -> None:
    both = [generation(index=index) for index in range(2)]
    for _, stream in both:
        stream.accept(RequestOutput("r", 0, [65, 66], FinishReason.STOP, num_cached_tokens=1), now=0.0)
    sink = Texts()
    await run_all([made for made, _ in both], sink)
    usage = usage_of([made for made, _ in both])
    assert sink.texts == {0: ["AB"], 1: ["AB"]}
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 4, 8)
    assert usage.prompt_tokens_details.cached_tokens == 2
