"""What an answer of a chat is made of, piece by piece: reasoning, text, and calls of tools."""

import itertools
from collections.abc import Iterable

import msgspec


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class CallDelta(msgspec.Struct, frozen=True, gc=False):
    """A call begins. index counts the answer's calls."""

    index: int
    name: str


class ArgumentsDelta(msgspec.Struct, frozen=True, gc=False):
    """More of the JSON of a call's arguments."""

    index: int
    text: str


Delta = TextDelta | ReasoningDelta | CallDelta | ArgumentsDelta


def merged(deltas: Iterable[Delta]) -> list[Delta]:
    """Neighbours that go on with the same thing as one; none is empty."""
    result: list[Delta] = []
    for _, group in itertools.groupby(deltas, key=_kind):
        first, *others = group
        if isinstance(first, CallDelta):
            result += [first, *others]
        elif text := first.text + "".join(other.text for other in others if not isinstance(other, CallDelta)):
            result.append(msgspec.structs.replace(first, text=text))
    return result


def _kind(delta: Delta) -> tuple[type[Delta], int | None]:
    """Equal for neighbours that go on with the same thing."""
    return type(delta), delta.index if isinstance(delta, CallDelta | ArgumentsDelta) else None
