"""Calls are found in an answer of any format, however it is cut; what is no call stays text."""

import functools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, TextDelta, merged
from octavo.text.tool_calls import ToolCallParser
from octavo.text.tool_formats import GENERIC, HERMES, LLAMA3, MISTRAL, TOOL_FORMATS, ToolFormat
from octavo.text.tool_prompt import written
from tests.text.operations import count_lines
from tests.text.tiny_text import chunks

FORMATS = list(TOOL_FORMATS.values())
NAMES = frozenset(("f", "g"))
CALL_F = '{"name": "f", "arguments": {"a": "x}"}}'
CALL_G = '{"name": "g", "parameters": {}}'


def parse(
    form: ToolFormat, text: str, *, cuts: list[int] | None = None, is_parallel: bool = True
) -> list[Delta]:
    parser = ToolCallParser(form, NAMES, is_parallel=is_parallel)
    deltas = [delta for piece in chunks(text, cuts or []) for delta in parser.push(piece)]
    return merged([*deltas, *parser.finish()])


def called(index: int, name: str, arguments: str) -> list[Delta]:
    return [CallDelta(index, name), ArgumentsDelta(index, arguments)]


HM = TextDelta("Hm.")
F, G = called(0, "f", '{"a": "x}"}'), called(1, "g", "{}")
READ: list[tuple[ToolFormat, str, list[Delta]]] = [
    (HERMES, f"<tool_call>\n{CALL_F}\n</tool_call>", F),
    (HERMES, f"Hm.\n<tool_call>{CALL_F}</tool_call>\n<tool_call>\n{CALL_G}</tool_call> \n", [HM, *F, *G]),
    (HERMES, f"<tool_call>{CALL_F}</tool_call>\n So. ", [*F, TextDelta("\n So. ")]),
    (HERMES, f"<tool_call>{CALL_F}<tool_call>{CALL_G}</tool_call>", [*F, *G]),
    (HERMES, f"<tool_call>{CALL_F}}}</tool_call>", [*F, TextDelta("}</tool_call>")]),
    (HERMES, f"<tool_call>{CALL_F}\n</tool_", F),
    (HERMES, '<tool_call>{"name": "f", "arguments": {"a', called(0, "f", '{"a')),
    (HERMES, f'<tool_call>{CALL_F}</tool_call>\n<tool_call>\n{{"name": "g", "arg', F),
    (HERMES, f"<tool_call>{CALL_F}</tool_call>\n<tool_c", F),
    (HERMES, f'<tool_call>{CALL_F}</tool_call>So.<tool_call>{{"na', [*F, TextDelta('So.<tool_call>{"na')]),
    (HERMES, CALL_F, F),
    (HERMES, f"Hm. {CALL_F}", [TextDelta(f"Hm. {CALL_F}")]),
    (HERMES, f"Hm.\n```json\n{CALL_F}\n```\n<tool_call>{CALL_G}</tool_call>", [HM, *F, *G]),
    (LLAMA3, f"\n{CALL_F}; {CALL_G}\n", [*F, *G]),
    (LLAMA3, f"Hm. <|python_tag|>{CALL_F}", [HM, *F]),
    (LLAMA3, f"\n<|python_tag|>{CALL_F};\n{CALL_G} ", [*F, *G]),
    (LLAMA3, f"{CALL_F} So.", [*F, TextDelta(" So.")]),
    (LLAMA3, f"{CALL_F}; so", [*F, TextDelta("; so")]),
    (LLAMA3, f'{CALL_F}; {{"name": "g"', F),
    (LLAMA3, f"Hm. {CALL_F}", [TextDelta(f"Hm. {CALL_F}")]),
    (MISTRAL, f"[TOOL_CALLS] [{CALL_F}, {CALL_G}]", [*F, *G]),
    (MISTRAL, f"[TOOL_CALLS]{CALL_F}", F),
    (MISTRAL, f"[TOOL_CALLS][{CALL_F}", F),
    (MISTRAL, f"[TOOL_CALLS][{CALL_F}] So.", [*F, TextDelta(" So.")]),
    (MISTRAL, f"[TOOL_CALLS][{CALL_F}, [1]]", [*F, TextDelta(", [1]]")]),
    (MISTRAL, f"[{CALL_F}]", F),
    (MISTRAL, f" [ [TOOL_CALLS]{CALL_F}", [TextDelta(" ["), *F]),
    (MISTRAL, "[TOOL_CALLS] []", [TextDelta("[TOOL_CALLS] []")]),
    (GENERIC, f"[{CALL_F},{CALL_G}]", [*F, *G]),
    (GENERIC, f'[{CALL_F}, {{"name": "g', F),
    (GENERIC, f'[{CALL_F}, {{"name": "g", "arguments": {{"a', [*F, *called(1, "g", '{"a')]),
    (GENERIC, CALL_F, F),
    (GENERIC, f"Hm.\n```json\n[{CALL_F}]\n```\nSo.", [HM, *F, TextDelta("\nSo.")]),
    (GENERIC, '```json\n{"day": "Monday"}\n```', [TextDelta('```json\n{"day": "Monday"}\n```')]),
    (GENERIC, '[{"day": "Monday"}]', [TextDelta('[{"day": "Monday"}]')]),
    (GENERIC, '```json\n{"name": "x"}\n```', [TextDelta('```json\n{"name": "x"}\n```')]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "expected"), READ, ids=[f"{f.name}-{t[:30]!r}" for f, t, _ in READ])
def test_an_answer_is_read(form: ToolFormat, text: str, expected: list[Delta]) -> None:
    assert parse(form, text) == expected
    assert parse(form, text, cuts=list(range(len(text)))) == expected


BROKEN = (
    "",
    "x",
    "{",
    "[",
    '{"name"',
    '{"name": "h"}',
    '{"arguments": {}}',
    '{"name": "f", "arguments": [1]}',
)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_call_is_text_as_it_stands(form: ToolFormat, body: str) -> None:
    for text in (f"{form.opening}{body}", f"a {form.opening}\n{body}\n{form.closing} b", f" {body}"):
        assert parse(form, text) == [TextDelta(text)]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_one_call_only(form: ToolFormat) -> None:
    body = f"[{CALL_F}, {CALL_G}]" if form.has_list else f"{CALL_F}{form.closing}{form.separator}{CALL_G}"
    text = f"Hm. {form.opening}{body}{form.closing} So. {form.opening}{CALL_G}{form.closing}"
    assert parse(form, text, is_parallel=False) == [HM, *F]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_an_answer_that_has_to_call_has_no_text_wherever_it_is_cut(form: ToolFormat) -> None:
    functions = [{"name": "f", "arguments": {"a": "x}"}}, {"name": "g", "arguments": {}}]
    whole = written(functions, form)
    lengths = range(len(whole) + 1)
    for is_exact in (False, True):
        for length in lengths:
            parser = ToolCallParser(form, NAMES, is_exact=is_exact, is_forced=True)
            deltas = [*parser.push(whole[:length]), *parser.finish()]
            assert not any(isinstance(delta, TextDelta) for delta in deltas)
            shown = "".join(delta.text for delta in deltas if isinstance(delta, ArgumentsDelta))
            assert '{"a": "x}"}{}'.startswith(shown)
        assert merged(deltas) == [*F, *G]


PIECES = (
    *(
        "<tool_call>",
        "</tool_call>",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "```json",
        "```",
        "<tool",
        "[",
        "]",
        ";",
    ),
    *(
        CALL_F,
        CALL_G,
        '{"name": "f", "arguments": ',
        '{"arguments": {',
        '"name": "g"',
        "{",
        "}",
        '"',
        "\\",
        ",",
    ),
    *(" ", "\n", "a", "é", "`", "<", '{"name": "h"}', '"x": 1', "null}", ": "),
)
answers = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
forms = st.sampled_from(FORMATS)


@settings(max_examples=600)
@given(forms, answers, st.lists(st.integers(0, 120), max_size=8), st.booleans())
@example(HERMES, f"<tool_call>{CALL_F}</tool_call>", list(range(80)), True)
def test_any_cut_gives_the_same_at_every_moment(
    form: ToolFormat, answer: str, cuts: list[int], is_parallel: bool
) -> None:
    """A stream that is resumed elsewhere goes on exactly where it was, and ends as the whole answer does."""
    parser = ToolCallParser(form, NAMES, is_parallel=is_parallel)
    out: list[Delta] = []
    seen = ""
    for piece in chunks(answer, cuts):
        out += parser.push(piece)
        seen += piece
        assert merged(out) == merged(ToolCallParser(form, NAMES, is_parallel=is_parallel).push(seen))
    assert merged([*out, *parser.finish()]) == parse(form, answer, is_parallel=is_parallel)


@settings(max_examples=300)
@given(forms, answers)
def test_without_a_call_nothing_is_lost(form: ToolFormat, answer: str) -> None:
    deltas = parse(form, answer)
    if not any(isinstance(delta, CallDelta) for delta in deltas):
        assert deltas == ([TextDelta(answer)] if answer else [])
    assert [delta.index for delta in deltas if isinstance(delta, CallDelta)] == list(
        range(sum(isinstance(delta, CallDelta) for delta in deltas))
    )


HOSTILE = (
    *("<tool_call>", "<tool_call", '<tool_call>{"', '<tool_call>{"a":[{', '<tool_call>{"a":"'),
    *("[TOOL_CALLS][", "[TOOL_CALLS] [{", "```json{", "```", "<|python_tag|>{", " ", "\n", "[", "{", '"'),
    *("\\", "<", '{"name": "f", "arguments": {"', '<tool_call>{"arguments": {"a": "'),
    *(f"<tool_call>{CALL_F}</tool_call>", f"<tool_call>{CALL_F}</tool_call"),
)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize("unit", HOSTILE)
def test_work_grows_with_the_text_and_no_faster(form: ToolFormat, unit: str) -> None:
    def run(num_characters: int, width: int) -> None:
        parse(form, (unit * num_characters)[:num_characters], cuts=list(range(0, num_characters, width)))

    for length, width in ((250, 1), (2_000, 100_000)):
        few = count_lines(functools.partial(run, length, width))
        many = count_lines(functools.partial(run, 4 * length, width))
        assert many <= 4.2 * few + 200
        assert many <= 120 * 4 * length
