import asyncio
import functools

import pytest

from octavo.core.errors import EngineError, InvalidRequestError, OverloadedError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec
from octavo.core.messages import OVERLOADED, RequestOutput, Submit, TokenLogprobs
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.streams import Admission, Deliveries, RequestStream, TokenGap


class Abortions:
    """Counts the calls of on_abort."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, stream: RequestStream) -> None:
        self.count += 1


def make_stream(on_abort: Abortions | None = None, sampling: SamplingParams | None = None) -> RequestStream:
    sampling = sampling or SamplingParams()
    submission = Submit("r", [1, 2, 3], 3, sampling, seed=5, arrival=10.0, priority=2, branch=1, salt="s")
    return RequestStream(submission, on_abort or Abortions())


def output(first_index: int, *token_ids: int, **fields: object) -> RequestOutput:
    return RequestOutput("wire", first_index, list(token_ids), **fields)  # type: ignore[arg-type]


async def collect(stream: RequestStream) -> list[tuple[int, list[int]]]:
    return [(output.first_index, output.token_ids) async for output in stream]


@pytest.mark.asyncio
async def test_known_tokens_are_dropped_and_the_rest_is_given_out_once() -> None:
    stream = make_stream()
    stream.accept(output(0, 10, 11), now=11.0)
    first = await anext(stream)
    stream.accept(output(0, 10, 11), now=12.0)
    stream.accept(output(1, 11, 12, 13), now=13.0)
    second = await anext(stream)
    stream.accept(output(4, 14, finish_reason=FinishReason.STOP), now=14.0)
    assert [(item.first_index, item.token_ids) for item in (first, second)] == [(0, [10, 11]), (2, [12, 13])]
    assert await collect(stream) == [(4, [14])]
    assert stream.has_ended


@pytest.mark.asyncio
async def test_what_nobody_has_taken_yet_is_given_out_together() -> None:
    stream = make_stream(sampling=SamplingParams(logprobs=0))
    stream.accept(output(0, 10, logprobs=logprobs(-1.0)), now=11.0)
    stream.accept(output(1, 11, logprobs=logprobs(-2.0), num_preemptions=1), now=12.0)
    stream.accept(output(2, finish_reason=FinishReason.LENGTH, num_preemptions=1), now=13.0)
    (item,) = [item async for item in stream]
    assert (item.first_index, item.token_ids, item.logprobs) == (0, [10, 11], logprobs(-1.0, -2.0))
    assert (item.finish_reason, stream.num_preemptions) == (FinishReason.LENGTH, 1)
    assert stream.num_steps == 2


@pytest.mark.asyncio
async def test_of_much_that_waits_a_part_is_given_out_and_the_rest_announced() -> None:
    stream = make_stream(sampling=SamplingParams(logprobs=0))
    turns: list[RequestOutput] = []

    def listen() -> None:
        taken = stream.take()
        assert taken is not None
        turns.append(taken)

    values = [float(-number) for number in range(70)]
    stream.accept(
        output(0, *range(70), logprobs=logprobs(*values), finish_reason=FinishReason.STOP), now=11.0
    )
    stream.listen(listen)
    while stream.has_waiting:
        before = len(turns)
        await asyncio.sleep(0)
        assert len(turns) <= before + 1
    assert [(one.first_index, len(one.token_ids)) for one in turns] == [(0, 32), (32, 32), (64, 6)]
    assert [one.finish_reason for one in turns] == [None, None, FinishReason.STOP]
    whole = TokenLogprobs()
    for one in turns:
        assert one.logprobs is not None and len(one.logprobs) == len(one.token_ids)
        whole.extend(one.logprobs)
    assert whole == logprobs(*values)


def test_a_missing_token_is_a_gap() -> None:
    stream = make_stream()
    stream.accept(output(0, 10), now=11.0)
    with pytest.raises(TokenGap, match="token 2 of request r came after token 0"):
        stream.accept(output(2, 12), now=12.0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("field", "message"),
    [("guided_regex", "guided_regex: unclosed group"), (None, "unclosed group")],
)
async def test_a_refused_grammar_is_the_clients_error(field: str | None, message: str) -> None:
    grammar = GrammarSpec(GrammarKind.REGEX, "(", field)
    submission = Submit("r", [1], 1, SamplingParams(), seed=5, arrival=10.0, grammar=grammar)
    stream = RequestStream(submission, Abortions())
    refused = output(0, finish_reason=FinishReason.ERROR, error="unclosed group", error_code="c")
    stream.accept(refused, now=11.0)
    with pytest.raises(InvalidRequestError) as error:
        await collect(stream)
    assert (str(error.value), error.value.param, error.value.code) == (message, field, "c")


@pytest.mark.asyncio
async def test_a_grammar_that_had_no_turn_is_overload() -> None:
    stream = make_stream()
    stream.accept(output(0, finish_reason=FinishReason.ERROR, error="later", error_code=OVERLOADED), now=11.0)
    with pytest.raises(OverloadedError, match="later"):
        await collect(stream)


def test_a_submission_carries_the_tokens_so_far() -> None:
    stream = make_stream()
    stream.accept(output(0, 10, 11), now=11.0)
    again = stream.submission("r~7", is_suspect=True)
    assert again.token_ids == [1, 2, 3, 10, 11]
    assert (again.request_id, again.is_suspect, again.num_prompt_tokens) == ("r~7", True, 3)
    assert (again.seed, again.arrival, again.priority, again.branch, again.salt) == (5, 10.0, 2, 1, "s")
    assert stream.last_progress == 11.0


@pytest.mark.asyncio
async def test_a_later_admission_does_not_change_what_the_first_one_reported() -> None:
    stream = make_stream()
    first = {"num_cached_tokens": 16, "queue_seconds": 0.5, "prefill_seconds": 0.25}
    assert stream.admission is None
    stream.accept(output(0, 10, num_preemptions=1, **first), now=11.0)
    assert stream.num_preemptions == 1
    stream.submission("again", is_suspect=False)
    stream.accept(output(1, 11, num_cached_tokens=0, queue_seconds=9.0, num_preemptions=2), now=12.0)
    assert stream.num_preemptions == 3
    assert stream.admission == Admission(16, 0.5, 0.25)


@pytest.mark.asyncio
async def test_a_listener_is_called_once_for_what_it_has_not_taken() -> None:
    stream = make_stream()
    num_calls = 0

    def listen() -> None:
        nonlocal num_calls
        num_calls += 1

    stream.listen(listen)
    for taken in ([10, 11], [12, 13]):
        for token_id in taken:
            stream.accept(output(token_id - 10, token_id), now=11.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        got = stream.take()
        assert got is not None and got.token_ids == taken
    assert num_calls == 2
    assert stream.take() is None
    stream.fail(EngineError("It broke."))
    await asyncio.sleep(0)
    assert num_calls == 3
    with pytest.raises(EngineError):
        stream.take()


@pytest.mark.asyncio
async def test_who_listens_late_hears_what_has_come() -> None:
    stream, heard = make_stream(), asyncio.Event()
    stream.accept(output(0, 10, finish_reason=FinishReason.STOP), now=11.0)
    stream.listen(heard.set)
    assert not heard.is_set()
    await heard.wait()


@pytest.mark.asyncio
async def test_all_are_told_in_one_turn() -> None:
    deliveries, heard = Deliveries(), list[int]()
    for number in range(3):
        deliveries.add(functools.partial(heard.append, number))
    await asyncio.sleep(0)
    assert heard == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_failure_comes_after_the_tokens_so_far() -> None:
    stream = make_stream()
    stream.accept(output(0, 10), now=11.0)
    stream.accept(output(1, finish_reason=FinishReason.ERROR, error="It is not finite."), now=12.0)
    assert (await anext(stream)).token_ids == [10]
    for _ in range(2):
        with pytest.raises(EngineError, match="not finite"):
            await anext(stream)


@pytest.mark.asyncio
async def test_a_waiting_consumer_is_woken_by_tokens_end_and_abort() -> None:
    on_abort = Abortions()
    stream = make_stream(on_abort)
    for wake in (lambda: stream.accept(output(0, 10), now=11.0), stream.abort):
        waiting = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
        assert not waiting.done()
        wake()
        await waiting
    stream.abort()
    assert on_abort.count == 1
    assert await collect(stream) == []


@pytest.mark.asyncio
async def test_aborting_what_has_ended_tells_nobody() -> None:
    on_abort = Abortions()
    stream = make_stream(on_abort)
    stream.accept(output(0, 10, finish_reason=FinishReason.STOP), now=11.0)
    stream.abort()
    assert on_abort.count == 0
    assert await collect(stream) == []


def logprobs(*values: float) -> TokenLogprobs:
    return TokenLogprobs(list(values), [1] * len(values), [[]] * len(values), [[]] * len(values))


@pytest.mark.asyncio
async def test_logprobs_of_known_tokens_are_dropped_with_them() -> None:
    stream = make_stream(sampling=SamplingParams(logprobs=0))
    stream.accept(output(0, 10, 11, logprobs=logprobs(-1.0, -2.0)), now=11.0)
    first = await anext(stream)
    finish = FinishReason.STOP
    stream.accept(output(1, 11, 12, logprobs=logprobs(-2.0, -3.0), finish_reason=finish), now=12.0)
    assert first.logprobs == logprobs(-1.0, -2.0)
    assert [item.logprobs async for item in stream] == [logprobs(-3.0)]


@pytest.mark.asyncio
async def test_prompt_logprobs_come_whole_with_the_first_token_over_a_crash() -> None:
    stream = make_stream(sampling=SamplingParams(prompt_logprobs=0))
    stream.accept(output(0, prompt_logprobs=logprobs(-1.0)), now=11.0)
    assert stream.submission("wire~2", is_suspect=False).sampling.prompt_logprobs == 0
    stream.accept(output(0, prompt_logprobs=logprobs(-1.0, -2.0)), now=12.0)
    stream.accept(output(0, 10), now=13.0)
    first = await anext(stream)
    assert stream.submission("wire~3", is_suspect=False).sampling.prompt_logprobs is None
    stream.accept(output(1, 11, finish_reason=FinishReason.STOP), now=14.0)
    assert first.prompt_logprobs == logprobs(-1.0, -2.0)
    assert [item.prompt_logprobs async for item in stream] == [None]


def test_missing_prompt_logprobs_are_a_gap() -> None:
    stream = make_stream(sampling=SamplingParams(prompt_logprobs=0))
    with pytest.raises(TokenGap, match="prompt tokens"):
        stream.accept(output(0, prompt_logprobs=logprobs(-2.0), first_prompt_index=2), now=11.0)


@pytest.mark.asyncio
async def test_an_embedding_ends_its_stream() -> None:
    stream = make_stream()
    stream.accept(output(0, pooled=b"1234", finish_reason=FinishReason.STOP), now=11.0)
    assert [item.pooled async for item in stream] == [b"1234"]
