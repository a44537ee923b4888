"""What an answer with calls of tools may be, as a grammar: by the same description that the parser goes by.

In llguidance's dialect of Lark, as core/grammar_spec.py has it. Arguments are values of the tools' schemas.
"""

import dataclasses
import enum
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from octavo.text.reasoning import ReasoningTags
from octavo.text.tool_formats import CALL_HEAD, ToolFormat

MAX_CALLS = 32  # in a row: a model that is held to calls may not know when to end

_ANY = "ANY: /(.|\\n)*/"  # but no control token, whatever it is called
_BLANKS = "/[ \\t\\r\\n]{0,4}/"


class Thinking(enum.Enum):
    """Whether an answer begins with reasoning."""

    NEVER = enum.auto()
    MAYBE = enum.auto()  # with the opening tag, if it does
    ALWAYS = enum.auto()  # the prompt has opened it


@dataclasses.dataclass(frozen=True, slots=True)
class ToolGrammar:
    """schemas: of each tool's arguments, by its name. control_ids: of the marks that are control tokens; all
    others are text. tags: not None unless thinking is NEVER."""

    form: ToolFormat
    schemas: Mapping[str, Mapping[str, Any]]
    is_parallel: bool = True
    thinking: Thinking = Thinking.NEVER
    tags: ReasoningTags | None = None
    control_ids: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def forced(self) -> str:
        """An answer that is a call, or several where these may be."""
        calls = self._inside() if self.form.is_bare else self._marked()
        return self._text(f"{self._reasoning()} {calls}")

    def optional(self, *, is_spaced: bool) -> str:
        """Calls in place of an answer that is JSON: with their opening, or one call without. is_spaced: the
        answer may have other white space than calls, and both could not begin alike."""
        calls = self._inside() if self.form.telling.is_bare else self._marked()
        return self._text(calls if is_spaced else f"({calls} | call)", is_split=True)

    def apart(self) -> str:
        """Calls in place of an answer that does not begin as they do (ToolFormat.telltale). All of that is in
        their first lexeme, or the lexer could not tell them from it."""
        if not self.form.telling.is_bare:
            return self._text(self._marked())
        heads = [json.dumps(f"[{self._head(name)}") for name in self.schemas]
        calls = self._repeated("call", ", ", first="first")
        return self._text(f'{calls} "]"', *self._rules("first", "first_tool", heads))

    def allowed(self) -> str:
        """Any text; but whatever the parser takes for a call (is_exact) is one, with valid arguments."""
        form = self.form
        if form.is_bare:
            return self._text(f"{self._reasoning()} ({self._inside()} | FREE)", self._free())
        call = f"{self._up_to(form.opening, 'head')} {self._framed()}"
        is_text = self.thinking is Thinking.MAYBE and self.tags and self.tags.opening not in self.control_ids
        reasoning = "" if is_text else self._reasoning()
        rest = f"({call})* ANY" if self.is_parallel else f"({call} | ANY)"
        return self._text(f"{reasoning} {rest}", _lazy("head", form.opening))

    def _text(self, start: str, *rules: str, is_split: bool = False) -> str:
        """is_split: into the lexemes of JSON, as a lexer has to tell calls from other JSON."""
        heads = [
            self._split_head(name) if is_split else json.dumps(self._head(name)) for name in self.schemas
        ]
        tags = [] if self.tags is None else [_lazy("think", self.tags.closing)]
        return "\n".join((f"start: {start}", *self._rules("call", "tool", heads), *rules, *tags, _ANY))

    def _rules(self, rule: str, member: str, heads: Sequence[str]) -> list[str]:
        """The rule of a call, and of each tool's a member. heads: up to the arguments."""
        names = [f"{member}_{index}" for index in range(len(heads))]
        schemas = [json.dumps({"type": "object", **schema}) for schema in self.schemas.values()]
        calls = zip(names, heads, schemas, strict=True)
        return [
            f"{rule}: {' | '.join(names)}",
            *(f'{name}: {head} %json {schema} "}}"' for name, head, schema in calls),
        ]

    def _head(self, name: str) -> str:
        return f'{CALL_HEAD}{name}", "{self.form.arguments_key}": '

    def _split_head(self, name: str) -> str:
        key, value, arguments = (json.dumps(f'"{it}"') for it in ("name", name, self.form.arguments_key))
        return f'"{{" {key} /: ?/ {value} /, ?/ {arguments} /: ?/'

    def _reasoning(self) -> str:
        if self.tags is None or self.thinking is Thinking.NEVER:
            return ""
        end = f"{self._up_to(self.tags.closing, 'think')} {_BLANKS}"
        return end if self.thinking is Thinking.ALWAYS else f"({self._mark(self.tags.opening)} {end})?"

    def _up_to(self, mark: str, rule: str) -> str:
        """Text and the first such mark behind it; the rule (_lazy) is for a mark that is spelled out."""
        return f"(ANY {self._mark(mark)} | {rule})" if mark in self.control_ids else rule

    def _free(self) -> str:
        """The rule of text that neither begins like a call nor with reasoning."""
        first = "{\\[" if self.form.has_list else "{"
        rule = f"FREE: /[ \\t\\r\\n]*([^ \\t\\r\\n{first}](.|\\n)*)?/"
        if self.tags is None or self.thinking is not Thinking.MAYBE:
            return rule
        return f"{rule} & ~/{re.escape(self.tags.opening)}(.|\\n)*/"

    def _marked(self) -> str:
        """Calls with their opening."""
        framed = f"{self._mark(self.form.opening)} {self._framed()}"
        is_whole = self.form.has_list or self.form.separator
        return framed if is_whole else self._repeated(f"({framed})", "\n")

    def _framed(self) -> str:
        """Calls from behind the opening to the end of the closing."""
        parts = json.dumps(self.form.padding), self._inside(), json.dumps(self.form.ending)
        return " ".join(part for part in parts if part != '""')

    def _inside(self) -> str:
        form = self.form
        if form.has_list:
            return f'"[" {self._repeated("call", ", ")} "]"'
        return self._repeated("call", f"{form.separator} ") if form.separator else "call"

    def _repeated(self, rule: str, separator: str, *, first: str | None = None) -> str:
        """first: another rule for the first."""
        others = f"({json.dumps(separator)} {rule}){{0,{MAX_CALLS - 1}}}"
        return f"{first or rule} {others}" if self.is_parallel else first or rule

    def _mark(self, mark: str) -> str:
        token_id = self.control_ids.get(mark)
        return json.dumps(mark) if token_id is None else f"<[{token_id}]>"


def _lazy(rule: str, mark: str) -> str:
    """Text up to the first such mark, and it."""
    return f"{rule}[lazy]: ANY {json.dumps(mark)}"
