"""The text of a chat's answer, taken apart: reasoning first, then calls of tools in what follows it."""

from typing import Protocol

from octavo.text.deltas import Delta, TextDelta, merged
from octavo.text.reasoning import ReasoningSplitter


class AnswerParser(Protocol):
    """Text in, deltas out; what has come out depends on the text so far alone, not on how it was cut."""

    @property
    def num_calls(self) -> int: ...

    def push(self, text: str) -> list[Delta]: ...

    def finish(self) -> list[Delta]:
        """What is held back, when nothing will follow."""
        ...


class PlainAnswer:
    """All of it is text."""

    num_calls = 0

    def push(self, text: str) -> list[Delta]:
        return [TextDelta(text)] if text else []

    def finish(self) -> list[Delta]:
        return []


class MarkedOrNot:
    """Two ways of reading a text: of one that begins with a mark, and of any other."""

    def __init__(self, mark: str, marked: AnswerParser, other: AnswerParser) -> None:
        self._mark = mark
        self._marked = marked
        self._other = other
        self._held = ""  # while it may become the mark
        self._chosen: AnswerParser | None = None

    @property
    def num_calls(self) -> int:
        return self._marked.num_calls + self._other.num_calls

    def push(self, text: str) -> list[Delta]:
        if self._chosen is None:
            text = self._held = self._held + text
            if len(text) < len(self._mark) and self._mark.startswith(text):
                return []
            self._chosen = self._marked if text.startswith(self._mark) else self._other
        return self._chosen.push(text)

    def finish(self) -> list[Delta]:
        if self._chosen is None:
            return [*self._other.push(self._held), *self._other.finish()]
        return self._chosen.finish()


class ParsedAnswer:
    def __init__(
        self,
        reasoning: ReasoningSplitter | PlainAnswer,
        calls: AnswerParser,
        *,
        shows_reasoning: bool = True,
    ) -> None:
        self._reasoning = reasoning
        self._calls = calls
        self._shows_reasoning = shows_reasoning

    @property
    def num_calls(self) -> int:
        return self._calls.num_calls

    def push(self, text: str) -> list[Delta]:
        return self._forward(self._reasoning.push(text))

    def finish(self) -> list[Delta]:
        return merged([*self._forward(self._reasoning.finish()), *self._calls.finish()])

    def _forward(self, deltas: list[Delta]) -> list[Delta]:
        """The text among them goes through the search for calls, reasoning to whom it is shown."""
        forwarded: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                forwarded += self._calls.push(delta.text)
            elif self._shows_reasoning:
                forwarded.append(delta)
        return forwarded
