"""What a streamed answer meant: times, counts, and whether it is whole."""

import pytest

from octavo.bench.answer import AnswerReader, Record
from tests.bench.scripted_server import USAGE, chunk


def read(*events: tuple[bytes, float]) -> tuple[Record, AnswerReader]:
    record = Record(intended=10.0)
    reader = AnswerReader(record)
    for data, now in events:
        reader.take(data, now)
    reader.finish()
    return record, reader


DONE = (b"[DONE]", 13.0)


def test_times_are_of_events_that_carry_text() -> None:
    role = b'{"choices":[{"delta":{"role":"assistant","content":""}}]}'
    word = b'{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}'
    record, reader = read(
        (role, 10.1), (word, 10.5), (word, 10.75), (word, 11.5), (USAGE % (7, 3), 12.0), DONE
    )
    assert record.failure is None and reader.text == "aaa"
    assert (record.ttft, record.e2e, list(record.gaps)) == (0.5, 1.5, [0.25, 0.75])
    assert record.tpot == pytest.approx(0.5)
    assert (record.num_prompt_tokens, record.num_output_tokens, record.has_usage) == (7, 3, True)


def test_without_usage_events_are_counted() -> None:
    record, _ = read((chunk("a"), 11.0), (chunk("b"), 12.0), DONE)
    assert (record.num_output_tokens, record.has_usage, record.num_prompt_tokens) == (2, False, None)


def test_the_last_of_continuous_usages_counts() -> None:
    one = chunk("a", usage={"prompt_tokens": 5, "completion_tokens": 1})
    two = chunk("bc", usage={"prompt_tokens": 5, "completion_tokens": 3})
    record, _ = read((one, 11.0), (two, 12.0), DONE)
    assert (record.num_output_tokens, list(record.gaps), record.tpot) == (3, [1.0], 0.5)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "content"])
def test_reasoning_is_text_too(field: str) -> None:
    record, _ = read((b'{"choices":[{"delta":{"%b":"a"}}]}' % field.encode(), 11.0), DONE)
    assert record.ttft == 1.0


def test_an_answer_of_one_token_has_no_time_between_tokens() -> None:
    record, _ = read((chunk("a"), 11.0), DONE)
    assert record.tpot is None and list(record.gaps) == []


@pytest.mark.parametrize(
    ("events", "failure"),
    [
        ([(chunk("a"), 11.0)], "cut"),
        ([DONE], "no token"),
        ([(chunk("a"), 11.0), (b'{"error":{"message":"oh"}}', 12.0), DONE], "error event"),
        ([(b"<html>", 11.0), DONE], "no chunk"),
    ],
)
def test_an_answer_that_is_not_whole_has_failed(events: list[tuple[bytes, float]], failure: str) -> None:
    assert read(*events)[0].failure == failure
