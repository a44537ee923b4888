"""Calls are looked for behind the reasoning, not in it."""

from octavo.text.answer_parser import ParsedAnswer, PlainAnswer
from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, ReasoningDelta, TextDelta, merged
from octavo.text.reasoning import REASONING_TAGS, ReasoningSplitter
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import LLAMA3

CALL = '{"name": "f", "parameters": {}}'
ANSWER = f"<think>{CALL}</think>\n\n{CALL}"


def read(parser: ParsedAnswer | PlainAnswer, *pieces: str) -> list[Delta]:
    deltas = [delta for piece in pieces for delta in parser.push(piece)]
    return merged([*deltas, *parser.finish()])


def test_reasoning_then_calls() -> None:
    expected = [ReasoningDelta(CALL), CallDelta(0, "f"), ArgumentsDelta(0, "{}")]
    for pieces in ((ANSWER,), tuple(ANSWER)):
        splitter = ReasoningSplitter(REASONING_TAGS[0], is_open=False)
        parser = ParsedAnswer(splitter, ToolCallParser(LLAMA3, {"f"}))
        assert read(parser, *pieces) == expected
        assert parser.num_calls == 1


def test_what_both_hold_back_comes_out_at_the_end() -> None:
    splitter = ReasoningSplitter(REASONING_TAGS[0], is_open=False)
    assert read(ParsedAnswer(splitter, ToolCallParser(LLAMA3, {"f"})), " ", "<th") == [TextDelta(" <th")]


def test_a_plain_answer_is_text() -> None:
    assert read(PlainAnswer(), "", ANSWER) == [TextDelta(ANSWER)]
    assert read(ParsedAnswer(PlainAnswer(), PlainAnswer()), ANSWER) == [TextDelta(ANSWER)]
