"""Finds calls of tools in an answer while it comes.

Every character ends up in a delta, or is one of the marks around calls and their parts, or white space beside
them, or a call that is cut off after whole ones. What begins like a call and is none is text, as it stands.
"""

import enum
from collections.abc import Container

from octavo.text.deltas import ArgumentsDelta, CallDelta, Delta, TextDelta, merged
from octavo.text.json_call import CallScanner
from octavo.text.marks import BLANKS, MarkSearch
from octavo.text.tool_formats import GENERIC, ToolFormat

_SLICE = 1024  # characters: a text full of marks is not copied whole for each of them


class _Place(enum.Enum):
    """Where in an answer the next character is."""

    START = 0  # nothing but white space so far; a call may begin without an opening
    TEXT = 1
    OPENED = 2  # a call is to begin, or a list of calls
    CALL = 3
    BETWEEN = 4  # a call of a list has ended
    CLOSING = 5  # the calls have ended, their closing is to come
    AFTER = 6  # a separator and another call may follow


class ToolCallParser:
    """Text in, deltas out. What has come out depends on the text so far alone, not on how it was cut.

    Looks at each character a bounded number of times.
    """

    def __init__(
        self,
        form: ToolFormat,
        names: Container[str],
        *,
        is_parallel: bool = True,
        is_exact: bool = False,
        is_forced: bool = False,
    ) -> None:
        """names: of the tools that may be called. is_parallel False: the answer ends with its first call.
        is_exact: calls are read only where a grammar (tool_grammar.py) sees to them. is_forced: it lets
        nothing but calls through, so what is not yet one when the answer is cut off is no text either."""
        self._form = form
        self._names = names
        self._is_parallel = is_parallel
        self._is_exact = is_exact
        self._is_forced = is_forced
        self._place = _Place.START
        self._openings = tuple(dict.fromkeys((form.opening, GENERIC.opening)))
        if is_exact:
            self._place = _Place.START if form.is_bare else _Place.TEXT
            self._openings = () if form.is_bare else (form.opening,)
        self._opening: str | None = None  # of the current calls
        self._search = MarkSearch(self._openings)
        self._call = CallScanner(names)
        self._has_begun = False  # the current call is out
        self._is_in_list = False
        self._closing = ""  # what is still to come of it
        self._raw: list[str] = []  # since the last delta: text, should it turn out to be no call
        self._is_after_call = False  # nothing but white space has come since
        self._is_over = False
        self._deltas: list[Delta] = []
        self.num_calls = 0

    def push(self, text: str) -> list[Delta]:
        for start in range(0, len(text), _SLICE):
            part, position = text[start : start + _SLICE], 0
            while position < len(part) and not self._is_over:
                position = self._step(part, position)
        return self._taken()

    def finish(self) -> list[Delta]:
        """What is held back, when nothing will follow."""
        if not (self._is_over or self._is_after_call):  # what follows calls is marks, or a call's beginning
            self._raw.append(self._search.flush())
            self._say(self._take_raw())
        return self._taken()

    def _taken(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return merged(deltas)

    def _step(self, text: str, position: int) -> int:
        """Take one character or more; returns where the next one is."""
        if self._place is _Place.TEXT:
            return self._take_text(text, position)
        if self._place is _Place.CALL:
            return self._take_call(text, position)
        character = text[position]
        if not (character in BLANKS or self._accepts(character)):
            self._give_up()
            return position
        self._raw.append(character)
        if self._has_ended():
            self._raw = []  # all since the last call was marks
        return position + 1

    def _has_ended(self) -> bool:
        return self._place is _Place.TEXT

    def _accepts(self, character: str) -> bool:
        """Outside of texts and calls: whether the character belongs there; if so, it is taken."""
        match self._place:
            case _Place.START | _Place.OPENED:
                return self._begins(character)
            case _Place.BETWEEN if character == ",":
                self._place = _Place.OPENED
            case _Place.BETWEEN if character == "]":
                self._is_in_list = False
                self._end_calls()
            case _Place.CLOSING if self._closing.startswith(character):
                self._closing = self._closing[1:]
                self._end_calls()
            case _Place.AFTER if character == self._form.separator:
                self._place = _Place.OPENED
            case _:
                return False
        return True

    def _begins(self, character: str) -> bool:
        if character == "{":
            self._place = _Place.CALL
            self._call = CallScanner(self._names, needs_arguments=self._is_exact)
            self._has_begun = False
        elif character == "[" and self._may_be_list and not self._is_in_list:
            self._place = _Place.OPENED
            self._is_in_list = True
        else:
            return False
        return True

    @property
    def _may_be_list(self) -> bool:
        return self._form.has_list or self._opening != self._form.opening

    def _take_text(self, text: str, position: int) -> int:
        self._say(self._search.push(text[position:]))
        if self._search.mark is None:
            return len(text)
        self._opening, rest = self._search.mark, len(self._search.rest)
        self._raw.append(self._search.flush())
        self._search = MarkSearch(self._openings)
        self._closing = (self._form if self._opening == self._form.opening else GENERIC).closing
        self._place = _Place.OPENED
        return len(text) - rest

    def _take_call(self, text: str, position: int) -> int:
        call = self._call
        end = call.feed(text, position)
        if not self._has_begun:
            self._raw.append(text[position:end])
        if call.name is not None and not call.is_broken:
            self._pass_on(call, call.name)
        if call.is_broken:
            self._give_up()
        elif call.is_complete:
            self._is_after_call = True
            self._is_over = not self._is_parallel
            if self._is_in_list:
                self._place = _Place.BETWEEN
            else:
                self._end_calls()
        return end

    def _pass_on(self, call: CallScanner, name: str) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._raw = []
            self._deltas.append(CallDelta(self.num_calls, name))
            self.num_calls += 1
        self._deltas += [ArgumentsDelta(self.num_calls - 1, text) for text in call.arguments]
        call.arguments = []

    def _end_calls(self) -> None:
        self._place = _Place.CLOSING if self._closing else _Place.AFTER
        if self._place is _Place.AFTER and not self._form.separator:
            self._place = _Place.TEXT

    def _give_up(self) -> None:
        """What has been held back is text, and what follows may be."""
        held = self._take_raw()
        is_opened = self._opening is not None and self._place is _Place.OPENED
        if not (is_opened or self._place is _Place.CALL):
            held = self._search.push(held)  # it may still go on to be an opening
        self._place = _Place.TEXT
        self._is_in_list = False
        self._closing = ""
        self._say(held)

    def _take_raw(self) -> str:
        raw, self._raw = "".join(self._raw), []
        return raw

    def _say(self, text: str) -> None:
        """White space behind a call is text only if text follows."""
        if text and not (self._is_forced or (self._is_after_call and not text.strip(BLANKS))):
            self._is_after_call = False
            self._deltas.append(TextDelta(text))
