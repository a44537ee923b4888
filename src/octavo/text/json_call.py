"""Reads one call of a tool, a JSON object, while it is being written: its name, and its arguments as text.

Only as much of JSON is checked as finding the ends of values takes: quotation marks and brackets. Arguments
are passed on as they are written.
"""

import contextlib
import enum
import json
import re
from collections.abc import Container

from octavo.text.marks import BLANKS
from octavo.text.tool_formats import ARGUMENTS_KEYS

_IN_STRING = re.compile(r'["\\]')
_IN_BRACKETS = re.compile(r'["{}\[\]]')
_AFTER_SCALAR = re.compile(r"[,{}\[\]\":\s]")
_KEYS = ARGUMENTS_KEYS | {"name", "id", "type"}  # of a call; another one says early that it is none
NO_ARGUMENTS = "{}"


class ValueScanner:
    """Finds where a JSON value ends. Looks at each character once."""

    def __init__(self) -> None:
        self._has_begun = False
        self._in_string = self._is_escaped = self._is_scalar = False
        self._depth = 0
        self.is_complete = False

    def feed(self, text: str, position: int) -> int:
        """The position behind what belongs to the value, of text from position on."""
        while position < len(text) and not self.is_complete:
            position = self._next(text, position)
        return position

    def _next(self, text: str, position: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            return position + 1
        if self._is_scalar:
            found = _AFTER_SCALAR.search(text, position)
            self.is_complete = found is not None
            return len(text) if found is None else found.start()
        if not self._has_begun:
            self._has_begun = True
            self._is_scalar = text[position] not in '"{['
            return position if self._is_scalar else self._take(text[position], position + 1)
        found = (_IN_STRING if self._in_string else _IN_BRACKETS).search(text, position)
        return len(text) if found is None else self._take(found[0], found.end())

    def _take(self, character: str, position: int) -> int:
        if character == "\\":
            self._is_escaped = True
            return position
        if character == '"':
            self._in_string = not self._in_string
        else:
            self._depth += 1 if character in "{[" else -1
        self.is_complete = self._depth == 0 and not self._in_string
        return position


class _Phase(enum.Enum):
    KEY, COLON, VALUE, NEXT = range(4)  # what is expected, or in its midst


class CallScanner:
    """A call from behind its opening brace on. What to do with it is in name and arguments.

    name        known once it and the first of the arguments have come (or the call is complete)
    arguments   pieces of JSON, to be taken out by whoever reads them; not before there is a name
    """

    def __init__(self, names: Container[str], *, needs_arguments: bool = False) -> None:
        """names: the tools there are; an object that names none of them is no call."""
        self._names = names
        self._needs_arguments = needs_arguments
        self._phase = _Phase.KEY
        self._value: ValueScanner | None = None
        self._pieces: list[str] = []  # of the value, if it has to be read as a whole
        self._key = ""
        self._name: str | None = None
        self._is_streamed = self._has_arguments = False
        self.arguments: list[str] = []
        self.is_complete = self.is_broken = False

    @property
    def name(self) -> str | None:
        return self._name if self._has_arguments or self.is_complete else None

    def feed(self, text: str, position: int) -> int:
        """The position behind what belongs to the call; before the first character that breaks it."""
        while position < len(text) and not (self.is_complete or self.is_broken):
            if self._value is not None:
                position = self._feed_value(self._value, text, position)
            elif text[position] in BLANKS:
                position += 1
            elif self._begins_value(text[position]):
                self._value = ValueScanner()
                self._begin_value(text[position])
            else:
                self._take_mark(text[position])
                position += not self.is_broken
        return position

    def _begins_value(self, character: str) -> bool:
        if self._phase is _Phase.KEY:
            return character == '"'
        return self._phase is _Phase.VALUE and character not in ",:}]"

    def _begin_value(self, character: str) -> None:
        if self._phase is _Phase.VALUE and self._key in ARGUMENTS_KEYS and not self._has_arguments:
            self._is_streamed = character == "{"
            self._has_arguments = self._is_streamed

    def _feed_value(self, value: ValueScanner, text: str, position: int) -> int:
        end = value.feed(text, position)
        (self.arguments if self._is_streamed else self._pieces).append(text[position:end])
        if value.is_complete:
            self._value = None
            self._end_value()
        return end

    def _end_value(self) -> None:
        written, self._pieces = "".join(self._pieces), []
        if self._phase is _Phase.KEY:
            self._key = self._string(written)
            self.is_broken |= self._key not in _KEYS
            self._phase = _Phase.COLON
            return
        self._phase = _Phase.NEXT
        if self._is_streamed:
            self._is_streamed = False
        elif self._key == "name" and self._name is None:
            self._name = self._string(written)
            self.is_broken |= self._name not in self._names
        elif self._key in ARGUMENTS_KEYS and not self._has_arguments:
            self._has_arguments = True
            self.arguments.append(NO_ARGUMENTS if written == "null" else self._string(written))

    def _string(self, written: str) -> str:
        """What a JSON string says; anything else breaks the call, and so does half a surrogate pair."""
        if written.startswith('"'):
            with contextlib.suppress(ValueError):
                value: str = json.loads(written)
                value.encode()
                return value
        self.is_broken = True
        return ""

    @property
    def _is_call(self) -> bool:
        return self._name is not None and (self._has_arguments or not self._needs_arguments)

    def _take_mark(self, character: str) -> None:
        """One of the marks between keys and values."""
        match self._phase, character:
            case _Phase.COLON, ":":
                self._phase = _Phase.VALUE
            case _Phase.NEXT, ",":
                self._phase = _Phase.KEY
            case ((_Phase.NEXT | _Phase.KEY), "}") if self._is_call:
                self.is_complete = True
                if not self._has_arguments:
                    self.arguments.append(NO_ARGUMENTS)
            case _:
                self.is_broken = True
