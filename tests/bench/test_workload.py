"""What is asked: of the right length, with what it should have in common, the same with the same seed."""

import itertools
import json
import pathlib
import random

import pytest

from octavo.bench.workload import (
    Length,
    MultiTurnWorkload,
    Prompts,
    RandomWorkload,
    Request,
    SharedPrefixWorkload,
    TraceWorkload,
    Workload,
)
from octavo.core.errors import StartError

INPUT, OUTPUT = Length(20, 20), Length(4, 9)


def requests(workload: Workload, count: int) -> list[Request]:
    """The first of each session."""
    return [next(planned.session) for planned in itertools.islice(workload.sessions(), count)]


def test_random_prompts_have_their_lengths_and_no_beginning_in_common() -> None:
    asked = requests(RandomWorkload("tokens", INPUT, OUTPUT, 1), 50)
    assert {len(request.content) for request in asked} == {20}
    assert {request.max_tokens for request in asked} == set(range(4, 10))
    assert len({request.content[0] for request in asked}) > 45
    assert asked == requests(RandomWorkload("tokens", INPUT, OUTPUT, 1), 50)
    assert asked != requests(RandomWorkload("tokens", INPUT, OUTPUT, 2), 50)


def test_a_prompt_for_chat_is_a_message_of_so_many_words() -> None:
    [request] = requests(RandomWorkload("chat", INPUT, OUTPUT, 1), 1)
    [message] = request.content
    assert message["role"] == "user" and len(message["content"].split()) == 20


def test_shared_prefixes() -> None:
    asked = requests(SharedPrefixWorkload("tokens", 3, 100, INPUT, OUTPUT, 1), 60)
    assert {len(request.content) for request in asked} == {120}
    assert len({tuple(request.content[:100]) for request in asked}) == 3
    assert len({tuple(request.content[:101]) for request in asked}) > 50


def test_a_shared_prefix_in_a_chat_is_a_system_message() -> None:
    asked = requests(SharedPrefixWorkload("chat", 1, 100, INPUT, OUTPUT, 1), 2)
    assert [message["role"] for message in asked[0].content] == ["system", "user"]
    assert asked[0].content[0] == asked[1].content[0] and asked[0].content[1] != asked[1].content[1]


def conversation(workload: MultiTurnWorkload, answers: list[str]) -> list[Request]:
    session = next(workload.sessions()).session
    return [next(session), *(session.send(answer) for answer in answers)]


def test_a_turn_repeats_the_conversation_with_the_servers_answers() -> None:
    workload = MultiTurnWorkload(True, 3, INPUT, OUTPUT, 1)
    one, two, three = conversation(workload, ["first", "second"])
    assert two.content[:2] == [*one.content, {"role": "assistant", "content": "first"}]
    assert three.content[:4] == [*two.content, {"role": "assistant", "content": "second"}]
    assert three.content[4]["role"] == "user" and workload.requests_per_session == 3


def test_a_conversation_ends_after_its_turns() -> None:
    session = next(MultiTurnWorkload(True, 1, INPUT, OUTPUT, 1).sessions()).session
    next(session)
    with pytest.raises(StopIteration):
        session.send("an answer")


def test_turns_of_completions_are_one_growing_text() -> None:
    one, two = conversation(MultiTurnWorkload(False, 2, INPUT, OUTPUT, 1), ["ANSWER"])
    assert two.content.startswith(f"{one.content}\nANSWER\n ")


@pytest.mark.parametrize(("text", "low", "high"), [("128", 128, 128), ("100-1024", 100, 1024)])
def test_lengths(text: str, low: int, high: int) -> None:
    length = Length.parse("--input-tokens", text)
    assert length == Length(low, high) and str(length) == text


@pytest.mark.parametrize("text", ["", "0", "x", "9-8", "-5", "1-", "5-x"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(StartError, match=r"--n is .* a number above 0, or a range"):
        Length.parse("--n", text)


def trace(tmp_path: pathlib.Path, *lines: object, kind: str = "tokens", speed: float = 1.0) -> TraceWorkload:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return TraceWorkload.read(path, kind, speed=speed)


def test_a_trace_has_times_and_lengths(tmp_path: pathlib.Path) -> None:
    lines = [
        {"timestamp": 27000, "input_length": 1000, "output_length": 5, "hash_ids": [7, 8]},
        {"timestamp": 30000, "input_length": 1024, "output_length": 6, "hash_ids": [7, 9]},
    ]
    workload = trace(tmp_path, *lines, "", speed=2.0)
    planned = list(workload.sessions())
    assert [item.arrival for item in planned] == [0.0, 1.5] and workload.has_times
    one, two = (next(item.session) for item in planned)
    assert (len(one.content), one.max_tokens, len(two.content), two.max_tokens) == (1000, 5, 1024, 6)
    assert one.content[:512] == two.content[:512] and one.content[512:600] != two.content[512:600]


def test_lines_without_names_have_nothing_in_common(tmp_path: pathlib.Path) -> None:
    asked = requests(trace(tmp_path, *[{"input_length": 9, "output_length": 1}] * 2), 2)
    assert len(asked[0].content) == 9 and asked[0] != asked[1]


@pytest.mark.parametrize(
    ("line", "kind", "content"),
    [
        ({"prompt": "Hello"}, "tokens", "Hello"),
        ({"prompt": "Hello"}, "chat", [{"role": "user", "content": "Hello"}]),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "chat", [{"role": "user", "content": "Hi"}]),
    ],
)
def test_a_trace_may_hold_what_is_asked(
    tmp_path: pathlib.Path, line: dict[str, object], kind: str, content: object
) -> None:
    workload = trace(tmp_path, line | {"output_length": 3}, kind=kind)
    assert requests(workload, 1) == [Request(content, 3)] and not workload.has_times


def test_a_trace_of_lengths_can_be_chatted(tmp_path: pathlib.Path) -> None:
    [request] = requests(
        trace(tmp_path, {"input_length": 600, "output_length": 1, "hash_ids": [1]}, kind="chat"), 1
    )
    assert len(request.content[0]["content"].split()) == 600


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1: "),
        ({"input_length": 5}, "missing required field `output_length`"),
        ({"input_length": 5, "output_length": 0}, "output_length is 0; allowed: 1 or more"),
        ({"output_length": 5}, "one of prompt, messages and input_length is needed"),
        ("", "holds no line of a trace"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: pathlib.Path, line: object, complaint: str) -> None:
    with pytest.raises(StartError, match=complaint):
        trace(tmp_path, line)


def test_a_trace_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match="The trace cannot be read"):
        TraceWorkload.read(tmp_path / "none", "tokens")


def test_words_continue_words() -> None:
    prompts = Prompts("words", random.Random(1))
    assert prompts.content(3, prompts.prefix(5)).count(" ") == 7


@pytest.mark.parametrize(
    "workload",
    [
        RandomWorkload("tokens", INPUT, OUTPUT, 3),
        SharedPrefixWorkload("tokens", 3, 100, INPUT, OUTPUT, 3),
        MultiTurnWorkload(True, 3, INPUT, OUTPUT, 3),
    ],
)
def test_a_workload_says_what_it_is(workload: Workload) -> None:
    described = workload.describe()
    assert described["seed"] == 3 and described["output_tokens"] == "4-9" and described["kind"]
