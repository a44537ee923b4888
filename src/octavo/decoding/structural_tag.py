"""Structural tags: text, some of it free and some held to a form, as xgrammar and vLLM spell it.

A lexer that takes all it can needs to know where free text ends: at a trigger, with its tag, or with the
answer. What is free anywhere else is refused. Runs in the engine process.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

import msgspec

from octavo.core.errors import InvalidRequestError
from octavo.decoding.lark_parts import ANY_TEXT, json_value, literal, literal_parts, parse, regex

MAX_TAGS = 256  # of one structural tag
MAX_FORMATS = 1000
MAX_NESTING = 16  # of formats

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Texts = Annotated[list[_Text], msgspec.Meta(min_length=1)]


class ConstString(msgspec.Struct, tag="const_string", forbid_unknown_fields=True):
    value: _Text


class JsonSchema(msgspec.Struct, tag="json_schema", forbid_unknown_fields=True):
    json_schema: dict[str, Any]


class Regex(msgspec.Struct, tag="regex", forbid_unknown_fields=True):
    pattern: str


class AnyText(msgspec.Struct, tag="any_text", forbid_unknown_fields=True):
    pass


class InOrder(msgspec.Struct, tag="sequence", forbid_unknown_fields=True):
    elements: Annotated[list["Format"], msgspec.Meta(min_length=1)]


class OneOf(msgspec.Struct, tag="or", forbid_unknown_fields=True):
    elements: Annotated[list["Format"], msgspec.Meta(min_length=1)]


class Tag(msgspec.Struct, tag="tag", forbid_unknown_fields=True):
    begin: str
    content: "Format"
    end: str | _Texts  # one of them


class TriggeredTags(msgspec.Struct, tag="triggered_tags", forbid_unknown_fields=True):
    """Free text; where a trigger appears, one of the tags that begin with it follows."""

    triggers: _Texts
    tags: Annotated[list[Tag], msgspec.Meta(min_length=1)]
    at_least_one: bool = False
    stop_after_first: bool = False


class SeparatedTags(msgspec.Struct, tag="tags_with_separator", forbid_unknown_fields=True):
    tags: Annotated[list[Tag], msgspec.Meta(min_length=1)]
    separator: str
    at_least_one: bool = False
    stop_after_first: bool = False


Format = Union[  # noqa: UP007  a name in it is not defined yet
    ConstString, JsonSchema, Regex, AnyText, InOrder, OneOf, Tag, TriggeredTags, SeparatedTags
]


class StructuralTag(msgspec.Struct, forbid_unknown_fields=True):
    format: Format
    type: str = "structural_tag"


class Structure(msgspec.Struct, forbid_unknown_fields=True):
    begin: str
    schema: dict[str, Any]
    end: str


class OlderTag(msgspec.Struct, forbid_unknown_fields=True):
    """triggered_tags around JSON, in the older spelling."""

    structures: Annotated[list[Structure], msgspec.Meta(min_length=1)]
    triggers: _Texts
    type: str = "structural_tag"

    @property
    def format(self) -> TriggeredTags:
        tags = [Tag(item.begin, JsonSchema(item.schema), item.end) for item in self.structures]
        return TriggeredTags(self.triggers, tags)


def structural_tag(text: str, whitespace: str | None, control_ids: Mapping[str, int]) -> str:
    """In Lark. control_ids: of control tokens by name, which stand for these in what is no free text.

    Raises InvalidRequestError, naming the place.
    """
    value = parse(text)
    is_older = isinstance(value, dict) and ("structures" in value or "triggers" in value)
    kind: type[OlderTag | StructuralTag] = OlderTag if is_older else StructuralTag
    try:
        tag = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"It is not a structural tag: {error}.") from None
    except RecursionError:
        raise _refusal("format", f"is nested more than {MAX_NESTING} deep") from None
    rules = _Rules(whitespace, control_ids, is_older=is_older)
    start = rules.of(tag.format, "format", is_last=True)
    return "\n".join((f"start: {start}", f"ANY: {ANY_TEXT}", *rules.lines))


class _Rules:
    """What a format is as an expression, and the rules that it refers to."""

    def __init__(self, whitespace: str | None, control_ids: Mapping[str, int], *, is_older: bool) -> None:
        self._whitespace = whitespace
        self._control_ids = control_ids
        self._tags = "structures" if is_older else "tags"
        self._num_tags = self._num_formats = 0
        self.lines: list[str] = []

    def of(self, item: Format, place: str, *, is_last: bool, depth: int = 0) -> str:
        """is_last: nothing follows it in the answer."""
        if depth > MAX_NESTING:
            raise _refusal("format", f"is nested more than {MAX_NESTING} deep")
        self._num_formats += 1
        if self._num_formats > MAX_FORMATS:
            raise _refusal("format", f"holds more than {MAX_FORMATS} formats")
        match item:
            case ConstString(value):
                return literal(value, self._control_ids)
            case JsonSchema() | Regex():
                return self._of_value(item, place)
            case AnyText() if is_last:
                return "ANY"
            case AnyText():
                raise _refusal(place, "is free text that neither ends its tag nor the answer")
            case InOrder(elements):
                return self._in_order(elements, place, is_last, depth)
            case OneOf(elements):
                parts = [
                    self.of(part, f"{place}.elements[{index}]", is_last=is_last, depth=depth + 1)
                    for index, part in enumerate(elements)
                ]
                return f"({' | '.join(parts)})"
            case Tag():
                return (
                    f"({literal(item.begin, self._control_ids)} {self._inside(item, place, is_last, depth)})"
                )
            case TriggeredTags():
                return self._triggered(item, place, is_last, depth)
            case SeparatedTags():
                return self._separated(item, place, is_last, depth)

    def _of_value(self, item: JsonSchema | Regex, place: str) -> str:
        try:
            if isinstance(item, Regex):
                return regex(item.pattern)
            return json_value(item.json_schema, self._whitespace)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{place}: {error}") from None

    def _in_order(self, elements: Sequence[Format], place: str, is_last: bool, depth: int) -> str:
        parts = [
            self.of(
                part,
                f"{place}.elements[{index}]",
                is_last=is_last and index == len(elements) - 1,
                depth=depth + 1,
            )
            for index, part in enumerate(elements)
        ]
        return f"({' '.join(parts)})"

    def _inside(self, tag: Tag, place: str, is_last: bool, depth: int) -> str:
        """A tag from behind its beginning on."""
        self._num_tags += 1
        if self._num_tags > MAX_TAGS:
            raise InvalidRequestError(f"A structural tag has 1 to {MAX_TAGS} {self._tags}.")
        content, place = tag.content, f"{place}.content"
        ends = [tag.end] if isinstance(tag.end, str) else tag.end
        if ends == [""]:
            return self.of(content, place, is_last=is_last, depth=depth + 1)
        if isinstance(content, AnyText):
            return self._up_to(ends, "ANY")
        if isinstance(content, Regex):
            return self._up_to(ends, self._of_value(content, place))
        closings = " | ".join(literal(end, self._control_ids) for end in ends)
        return f"{self.of(content, place, is_last=False, depth=depth + 1)} ({closings})"

    def _up_to(self, ends: Sequence[str], lexeme: str) -> str:
        """The shortest text of this kind with one of the ends behind it."""
        found = []
        for end in ends:
            first, *others = literal_parts(end, self._control_ids)
            if first.startswith("/"):
                first = self._rule(f"[lazy]: {lexeme} {first}")
                found.append(" ".join((first, *others)))
            else:
                found.append(" ".join((lexeme, first, *others)))
        return f"({' | '.join(found)})"

    def _triggered(self, item: TriggeredTags, place: str, is_last: bool, depth: int) -> str:
        bodies: dict[str, list[str]] = {trigger: [] for trigger in item.triggers}
        for index, tag in enumerate(item.tags):
            trigger = next((known for known in item.triggers if tag.begin.startswith(known)), None)
            where = f"{place}.{self._tags}[{index}]"
            if trigger is None:
                raise _refusal(f"{where}.begin", f"is {tag.begin[:80]!r}, which no trigger begins")
            begin = literal(tag.begin.removeprefix(trigger), self._control_ids)
            ends_it = is_last and item.stop_after_first
            bodies[trigger].append(f"{begin} {self._inside(tag, where, ends_it, depth + 1)}".strip())
        tags = " | ".join(
            f"{self._up_to([trigger], 'ANY')} ({' | '.join(body)})"
            for trigger, body in bodies.items()
            if body
        )
        if item.at_least_one and item.stop_after_first:
            return f"({tags})"
        if not is_last:
            raise _refusal(place, "ends with free text, and more would have to follow it")
        if item.stop_after_first:
            return f"({tags} | ANY)"
        return f"({tags}){'+' if item.at_least_one else '*'} ANY"

    def _separated(self, item: SeparatedTags, place: str, is_last: bool, depth: int) -> str:
        ends_it = is_last and item.stop_after_first
        tags = " | ".join(
            self.of(tag, f"{place}.tags[{index}]", is_last=ends_it, depth=depth + 1)
            for index, tag in enumerate(item.tags)
        )
        name = self._rule(f": {tags}")
        others = "" if item.stop_after_first else f"({literal(item.separator, self._control_ids)} {name})*"
        return f"({name} {others}){'' if item.at_least_one else '?'}"

    def _rule(self, text: str) -> str:
        """Its name; text: from behind the name on."""
        name = f"part_{len(self.lines)}"
        self.lines.append(name + text)
        return name


def _refusal(place: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"{place} {what}.")
