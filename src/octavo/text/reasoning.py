"""Tells a model's reasoning, which it puts between tags in front of its answer, from the answer."""

import dataclasses
import enum

from octavo.text.deltas import Delta, ReasoningDelta, TextDelta, merged
from octavo.text.marks import BLANKS, MarkSearch
from octavo.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class ReasoningTags:
    opening: str
    closing: str


REASONING_TAGS = (ReasoningTags("<think>", "</think>"), ReasoningTags("[THINK]", "[/THINK]"))


def reasoning_tags_of(template: str | None, vocabulary: Vocabulary) -> ReasoningTags | None:
    """Of a model whose chat template or vocabulary knows them; None for one that does not reason in tags."""
    known = (
        tags for tags in REASONING_TAGS if tags.closing in vocabulary.ids or tags.closing in (template or "")
    )
    return next(known, None)


class _Place(enum.Enum):
    BEGIN, REASONING, ANSWER = range(3)


class ReasoningSplitter:
    """Text in, deltas out; what has come out depends on the text so far alone, not on how it was cut.

        begin: white space, perhaps the opening | reasoning | closing, white space | the answer

    White space beside the tags is no part of either. An answer that never closes its reasoning is all
    reasoning.
    """

    def __init__(self, tags: ReasoningTags, *, is_open: bool) -> None:
        """is_open: the prompt has opened the reasoning. A model may still open it once more."""
        self._opening = tags.opening
        self._search = MarkSearch((tags.closing,))
        self._is_open = is_open
        self._blanks: list[str] = []  # that begin the answer, while it may still become the opening
        self._partial = ""  # of the opening
        self._place = _Place.BEGIN
        self._skips_blanks = False

    def push(self, text: str) -> list[Delta]:
        if self._place is _Place.BEGIN:
            text = self._begin(self._partial + text)
        if self._skips_blanks:
            text = text.lstrip(BLANKS)
            self._skips_blanks = not text
        if not text:
            return []
        return [TextDelta(text)] if self._place is _Place.ANSWER else self._reason(text)

    def finish(self) -> list[Delta]:
        """What is held back, when nothing will follow."""
        match self._place:
            case _Place.BEGIN if not self._is_open:
                held: Delta = TextDelta("".join(self._blanks) + self._partial)
            case _Place.BEGIN:
                held = ReasoningDelta(self._partial)
            case _Place.REASONING:
                held = ReasoningDelta(self._search.flush().rstrip(BLANKS))
            case _Place.ANSWER:
                return []
        return merged([held])

    def _begin(self, text: str) -> str:
        """Returns what belongs to what follows, once that is known."""
        if not self._partial:
            begin = text.lstrip(BLANKS)
            self._blanks.append(text[: len(text) - len(begin)])
            text = begin
        if len(text) < len(self._opening) and self._opening.startswith(text):
            self._partial = text
            return ""
        self._partial = ""
        if text.startswith(self._opening) or self._is_open:
            self._place, self._skips_blanks = _Place.REASONING, True
            return text.removeprefix(self._opening)
        self._place = _Place.ANSWER
        return "".join(self._blanks) + text

    def _reason(self, text: str) -> list[Delta]:
        safe = self._search.push(text)
        deltas: list[Delta] = [ReasoningDelta(safe)] if safe else []
        if self._search.mark is not None:
            self._place = _Place.ANSWER
            self._skips_blanks = True
            deltas += self.push(self._search.rest)
        return deltas
