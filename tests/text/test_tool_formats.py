"""A model's format is told by its template and vocabulary."""

import pytest

from octavo.config import TOOL_CALL_PARSERS
from octavo.text.tool_formats import GENERIC, HERMES, LLAMA3, MISTRAL, TOOL_FORMATS, ToolFormat, format_of
from octavo.text.vocabulary import Vocabulary

QWEN = '{% if tools %}<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>{% endif %}'
QWEN_CODER = "{% if tools %}<tool_call>\n<function=NAME>\n<parameter=arguments>{% endif %}"
GLM = "{% if tools %}<tool_call>NAME\n<arg_key>arguments</arg_key>{% endif %}"
LLAMA = '{% if tools %}Answer with {"name": NAME, "parameters": PARAMETERS}.{% endif %}'
PLAIN = "{{ messages[0].content }}"


def vocabulary(*tokens: str) -> Vocabulary:
    return Vocabulary(tokens, control_ids=range(len(tokens)))


@pytest.mark.parametrize(
    ("template", "tokens", "expected"),
    (
        (QWEN, ("<tool_call>",), HERMES),
        (QWEN, (), HERMES),
        (QWEN_CODER, ("<tool_call>",), GENERIC),
        (GLM, ("<tool_call>",), GENERIC),
        (LLAMA, ("<|python_tag|>",), LLAMA3),
        (LLAMA, (), GENERIC),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}", ("[TOOL_CALLS]",), MISTRAL),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}", ("[TOOL_CALLS]", "[ARGS]"), GENERIC),
        (PLAIN, ("[TOOL_CALLS]", "<|python_tag|>", "<tool_call>"), GENERIC),
        (None, (), GENERIC),
    ),
)
def test_the_files_tell_the_format(
    template: str | None, tokens: tuple[str, ...], expected: ToolFormat
) -> None:
    assert format_of(template, vocabulary(*tokens)) is expected


def test_every_format_can_be_asked_for() -> None:
    assert tuple(TOOL_FORMATS) == TOOL_CALL_PARSERS
