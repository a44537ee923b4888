"""How models write calls of tools: one description for each format, which parser and grammar both go by.

A call is always a JSON object with the tool's name and its arguments; formats differ in what stands around
it.
"""

import dataclasses

from octavo.text.vocabulary import Vocabulary

CALL_HEAD = '{"name": "'


@dataclasses.dataclass(frozen=True, slots=True)
class ToolFormat:
    """opening and closing stand around a call, or around a list of calls; closing may be empty.

    Models that were trained little write calls as GENERIC says, whatever their own format is: a call or a
    list of calls that begins the answer, or stands in a fenced block, is read in every format.
    """

    name: str  # of --tool-call-parser
    opening: str
    closing: str
    arguments_key: str
    is_bare: bool = False  # the model begins its answer with calls, without the opening
    has_list: bool = False  # a JSON list of calls instead of one call
    separator: str = ""  # between one call and the next, where they need no opening of their own
    padding: str = ""  # white space the model puts inside opening and closing
    has_short_ids: bool = False  # calls have ids of nine letters and digits, as the template wants them

    @property
    def marked(self) -> "ToolFormat":
        """The same with calls that always have their opening."""
        return dataclasses.replace(self, is_bare=False)

    @property
    def bare(self) -> "ToolFormat":
        """Calls without it; one call only, unless the model writes them so anyway."""
        return self if self.is_bare else dataclasses.replace(self, is_bare=True, has_list=False)

    @property
    def telling(self) -> "ToolFormat":
        """The same with calls that begin as no other text would: without the opening only as a list."""
        return self if self.is_bare and self.has_list else self.marked

    @property
    def telltale(self) -> str:
        """How these begin."""
        return f"[{CALL_HEAD}" if self.telling.is_bare else self.opening

    @property
    def beginning(self) -> str:
        """What a model writes before a call, or a list of them."""
        return self.opening + self.padding

    @property
    def ending(self) -> str:
        return self.padding + self.closing if self.closing else ""


HERMES = ToolFormat("hermes", "<tool_call>", "</tool_call>", "arguments", padding="\n")
LLAMA3 = ToolFormat("llama3_json", "<|python_tag|>", "", "parameters", is_bare=True, separator=";")
MISTRAL = ToolFormat(
    "mistral", "[TOOL_CALLS]", "", "arguments", has_list=True, padding=" ", has_short_ids=True
)
GENERIC = ToolFormat("json", "```json", "```", "arguments", is_bare=True, has_list=True, padding="\n")

TOOL_FORMATS = {item.name: item for item in (HERMES, LLAMA3, MISTRAL, GENERIC)}
ARGUMENTS_KEYS = frozenset(item.arguments_key for item in TOOL_FORMATS.values())
"""A model may write another format's key: they mean the same."""


def format_of(template: str | None, vocabulary: Vocabulary) -> ToolFormat:
    """The format a model was trained on, as its chat template and its vocabulary tell it.

    GENERIC for all others: these are told in the prompt.
    """
    source = template or ""
    if "tools" not in source:
        return GENERIC
    if MISTRAL.opening in vocabulary.ids and "[ARGS]" not in vocabulary.ids:
        return MISTRAL
    is_xml = "<function=" in source or "<arg_key>" in source  # other formats in the same tags
    if HERMES.opening in source and HERMES.arguments_key in source and not is_xml:
        return HERMES
    if LLAMA3.opening in vocabulary.ids and LLAMA3.arguments_key in source:
        return LLAMA3
    return GENERIC
