"""What a chat can do is told by template and vocabulary; who starts the server may know better."""

from octavo.text.chat_abilities import ChatAbilities, abilities_of
from octavo.text.chat_template import ChatTemplate
from octavo.text.reasoning import REASONING_TAGS
from octavo.text.tool_formats import GENERIC, HERMES, LLAMA3, MISTRAL
from tests.text.tiny_text import tokenizer

TOKENIZER = tokenizer()
VOCABULARY = TOKENIZER.vocabulary
QWEN = (
    "{% if tools %}<tool_call> arguments{% endif %}{{ messages }}"
    "{% if enable_thinking is defined %}<think></think>{% endif %}"
)


def abilities(source: str | None, parser: str | None = None) -> ChatAbilities:
    return abilities_of(ChatTemplate(source, TOKENIZER), VOCABULARY, tool_call_parser=parser)


def test_a_template_that_knows_tools_is_given_them() -> None:
    found = abilities(QWEN)
    assert (found.tool_format, found.template_has_tools) == (HERMES, True)
    assert (found.reasoning, found.switch) == (REASONING_TAGS[0], "enable_thinking")
    assert {"messages", "tools", "enable_thinking"} <= found.variables
    assert str(found) == "tool calls as hermes, told by the template; reasoning in <think>"


def test_a_format_nobody_knows_is_told_in_a_system_text() -> None:
    found = abilities("{% if tools %}<function_calls>{{ tools }}{% endif %}{{ messages }}")
    assert (found.tool_format, found.template_has_tools) == (GENERIC, False)
    assert (found.reasoning, found.switch) == (None, None)
    assert str(found) == "tool calls as json, told in a system text"


def test_a_format_can_be_asked_for() -> None:
    assert abilities(QWEN, "json").template_has_tools is False
    assert abilities("{{ messages }}", "llama3_json").tool_format is LLAMA3
    assert abilities("{{ messages }}", "mistral").template_has_tools is False
    assert abilities("{{ tools }}", "mistral") == ChatAbilities(
        MISTRAL, template_has_tools=True, variables=frozenset(("tools",))
    )


def test_marks_that_are_control_tokens_are_shown() -> None:
    """<think> is a text of its own in this vocabulary, so it always is in the text."""
    assert abilities(QWEN).control_ids == {}
    pad = VOCABULARY.ids["[PAD]"]
    tiny = tokenizer().vocabulary
    tiny.ids = {**tiny.ids, "[TOOL_CALLS]": pad}
    template = ChatTemplate("{{ tools }}", TOKENIZER)
    assert abilities_of(template, tiny).control_ids == {"[TOOL_CALLS]": pad}


def test_no_template_no_chat() -> None:
    assert abilities(None) == ChatAbilities()
