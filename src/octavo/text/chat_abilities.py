"""What a model's chat can do besides text, as its chat template and its vocabulary tell: tools, reasoning."""

import dataclasses
from collections.abc import Mapping

from octavo.text.chat_template import ChatTemplate
from octavo.text.reasoning import ReasoningTags, reasoning_tags_of
from octavo.text.tool_formats import GENERIC, TOOL_FORMATS, ToolFormat, format_of
from octavo.text.vocabulary import Vocabulary

EFFORT = "reasoning_effort"  # of a template that takes levels
SWITCHES = ("enable_thinking", "thinking")  # of a template that can do without reasoning


@dataclasses.dataclass(frozen=True, slots=True)
class ChatAbilities:
    """template_has_tools: the template tells the model of tools; otherwise tool_prompt.py does."""

    tool_format: ToolFormat = GENERIC
    template_has_tools: bool = False
    reasoning: ReasoningTags | None = None
    variables: frozenset[str] = frozenset()  # that the template reads
    control_ids: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Of the marks of calls and reasoning that are control tokens."""

    @property
    def switch(self) -> str | None:
        """The template's variable that turns reasoning off."""
        return next((name for name in SWITCHES if name in self.variables), None)

    def __str__(self) -> str:
        told = "told by the template" if self.template_has_tools else "told in a system text"
        tags = "" if self.reasoning is None else f"; reasoning in {self.reasoning.opening}"
        return f"tool calls as {self.tool_format.name}, {told}{tags}"


def abilities_of(
    template: ChatTemplate, vocabulary: Vocabulary, *, tool_call_parser: str | None = None
) -> ChatAbilities:
    """tool_call_parser: the name of a format, to be used instead of what the model's files say."""
    variables = template.variables
    source = template.source
    form = format_of(source, vocabulary) if tool_call_parser is None else TOOL_FORMATS[tool_call_parser]
    reasoning = reasoning_tags_of(source, vocabulary)
    marks = [form.opening, form.closing]
    if reasoning is not None:
        marks += [reasoning.opening, reasoning.closing]
    return ChatAbilities(
        tool_format=form,
        template_has_tools=form is not GENERIC and "tools" in variables,
        reasoning=reasoning,
        variables=variables,
        control_ids={
            mark: token_id
            for mark in marks
            if (token_id := vocabulary.ids.get(mark)) is not None and token_id in vocabulary.control_ids
        },
    )
