"""YAML whose values know where they stand, so that a mistake can be named by line and field.

Fields are taken by name and kind; those that nobody has taken are mistakes too. All of a file's mistakes are
told at once.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import yaml

from octavo.core.errors import StartError
from octavo.core.nearest import nearest
from octavo.core.yaml_text import VALUE_ERRORS

MAX_FILE_BYTES = 1 << 20
_ECHO_LIMIT = 60  # characters of a wrong value repeated
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b?)", re.IGNORECASE)
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|m|h|)")

DURATIONS = "a time like 30s, 5m or 1h"

Value = TypeVar("Value")


def read_duration(text: str) -> float:
    """Seconds of 90, 90s, 5m or 1.5h; 0: it is none."""
    return _amount(text, _DURATION, _SECONDS)


def _amount(text: str, pattern: re.Pattern[str], units: Mapping[str, float]) -> float:
    found = pattern.fullmatch(text.strip())
    return 0.0 if found is None else float(found["number"]) * units[found["unit"].lower()]


@dataclasses.dataclass(slots=True)
class Mistakes:
    """What is wrong with one file."""

    file: str
    found: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        self.found.append((line, text))

    def raise_any(self) -> None:
        """Raises StartError with all of them, in the order of the lines."""
        if self.found:
            lines = [f"{self.file}, line {line}: {text}" for line, text in sorted(self.found)]
            raise StartError("\n        ".join(lines))


def read_fields(path: pathlib.Path) -> tuple["Fields", Mistakes]:
    """The fields of the file's mapping. Raises StartError for a file that is no YAML mapping."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise StartError(f"{path} is longer than {MAX_FILE_BYTES:,} bytes.")
    try:
        node = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise StartError(f"{path} is not UTF-8.") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}" if mark is None else f"{path}, line {mark.line + 1}"
        raise StartError(f"{where}: not valid YAML ({getattr(error, 'problem', None) or error}).") from None
    mistakes = Mistakes(str(path))
    if node is None:
        node = _nothing(1)
    if not isinstance(node, yaml.MappingNode):
        raise StartError(f"{path}, line {_line(node)}: must hold fields, as name: value.")
    return Fields(node, "", mistakes), mistakes


def _nothing(line: int) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", [], yaml.Mark("", 0, line - 1, 0, None, 0))


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line + 1
    return line


class Fields:
    """One mapping. Each method takes a field, or gives the default where it is missing, null or wrong."""

    def __init__(self, node: yaml.MappingNode, path: str, mistakes: Mistakes) -> None:
        self.line = _line(node)
        self._path = path
        self._mistakes = mistakes
        self._nodes: dict[str, yaml.Node] = {}
        self._taken: set[str] = set()
        self._lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name in self._nodes:
                self.complain(name, "is given twice", _line(key))
            self._nodes[name] = value
            self._lines[name] = _line(key)

    def name_of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def line_of(self, name: str) -> int:
        return self._lines.get(name, self.line)

    def has(self, name: str) -> bool:
        return name in self._nodes and self._value(self._nodes[name]) is not None

    def complain(self, name: str, text: str, line: int | None = None) -> None:
        sentence = f"{self.name_of(name)} {text}" + "." * (not text.endswith("?"))
        self._mistakes.add(self.line_of(name) if line is None else line, sentence)

    def text(self, name: str, default: str = "", allowed: Sequence[str] = ()) -> str:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            return self._wrong(name, value, "a text", default)
        if allowed and value not in allowed:
            return self._wrong(name, value, ", ".join(allowed), default)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """One text or a list of them."""
        value = self._take(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, str) and item for item in values):
            return self._wrong(name, value, "a text, or a list of texts", ())
        return tuple(values)

    def flag(self, name: str, default: bool) -> bool:
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        return self._wrong(name, value, "true or false", default)

    def whole(self, name: str, default: int, minimum: int, maximum: int) -> int:
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            return self._wrong(name, value, f"a whole number from {minimum} to {maximum}", default)
        return value

    def whole_or_none(self, name: str, minimum: int, maximum: int) -> int | None:
        self._taken.add(name)
        return self.whole(name, minimum, minimum, maximum) if self.has(name) else None

    def size(self, name: str) -> int | None:
        """Bytes: 2GiB, 512Mi, or a plain number, in powers of 1024."""
        return self._measure(name, _SIZE, _BYTES, "a size like 512MiB or 2Gi", int)

    def seconds(self, name: str) -> float | None:
        """90, 90s, 5m or 1.5h."""
        return self._measure(name, _DURATION, _SECONDS, DURATIONS, float)

    def _measure(
        self, name: str, pattern: re.Pattern[str], units: Mapping[str, float], allowed: str, kind: type[Value]
    ) -> Value | None:
        value = self._take(name)
        if value is None:
            return None
        is_number = isinstance(value, str | int | float) and not isinstance(value, bool)
        amount = _amount(str(value), pattern, units) if is_number else 0.0
        if not 0 < amount < math.inf:
            return self._wrong(name, value, allowed, None)
        return kind(amount)  # type: ignore[call-arg]

    def fields(self, name: str) -> "Fields":
        """The mapping below a name; an empty one where it is missing."""
        self._taken.add(name)
        node = self._nodes.get(name)
        if node is None or self._value(node) is None:
            node = _nothing(self.line)
        return self._below(node, name)

    def each(self, name: str) -> list["Fields"]:
        """The mappings of the list below a name."""
        self._taken.add(name)
        node = self._nodes.get(name)
        if not isinstance(node, yaml.SequenceNode):
            if node is not None:
                self.complain(name, "must be a list, each item with its own fields")
            return []
        return [self._below(item, f"{name}[{number}]") for number, item in enumerate(node.value)]

    def _below(self, node: yaml.Node, name: str) -> "Fields":
        if isinstance(node, yaml.MappingNode):
            return Fields(node, self.name_of(name), self._mistakes)
        self.complain(name, "must hold fields, as name: value", _line(node))
        return Fields(yaml.MappingNode(node.tag, [], node.start_mark), self.name_of(name), self._mistakes)

    def values(self) -> dict[str, object]:
        """All of them, whatever they are called, as YAML reads them."""
        self._taken |= self._nodes.keys()
        return {name: self._value(node) for name, node in self._nodes.items()}

    def refuse(self, name: str, why: str) -> None:
        """A field that has no place beside the others."""
        self._taken.add(name)
        if name in self._nodes:
            self.complain(name, why)

    def close(self) -> None:
        """What has not been taken is not a field."""
        for name in self._nodes.keys() - self._taken:
            near = nearest(name, self._taken)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(self._taken))}"
            self.complain(name, f"is not a field; {hint}")

    def _take(self, name: str) -> object:
        self._taken.add(name)
        node = self._nodes.get(name)
        return None if node is None else self._value(node)

    def _value(self, node: yaml.Node) -> object:
        try:
            value: object = yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, *VALUE_ERRORS):  # a node that contains itself, a value that is none
            return str(node.value) if isinstance(node, yaml.ScalarNode) else {}
        return value

    def _wrong(self, name: str, value: object, allowed: str, default: Value) -> Value:
        is_nested = isinstance(value, list | dict)
        shown = f"a {type(value).__name__}" if is_nested else repr(str(value)[:_ECHO_LIMIT])
        self.complain(name, f"is {shown}; allowed: {allowed}")
        return default
