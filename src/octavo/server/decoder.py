"""JSON bytes to one kind of request, or an InvalidRequestError that names the field."""

import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import msgspec.inspect

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.core.nearest import nearest
from octavo.http.body import UNREADABLE, not_json, of_shape
from octavo.http.errors import HttpError
from octavo.server.parameters import Kind, Parameter

Body = TypeVar("Body", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_CHOICE = re.compile(rf"^Invalid (?:enum )?value '(?P<value>.{{0,{ECHO_LIMIT}}}).*'$", re.DOTALL)
_INDEX = re.compile(r"\[\d+\]")
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<field>.*?)`", re.DOTALL)
MAX_UNKNOWN_FIELDS = 32  # that a body may have where they are let pass
MAX_MARKS = 1 << 20  # of structure in a body: each may take 100 ns, while nobody else is served
_MARKS = (b",", b":", b"[", b"{")
_SPACED_COLONS = (b" :", b"\n:", b"\t:", b"\r:")


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded(Generic[Body]):
    """A request, and what it asked for besides."""

    request: Body
    recorded: Mapping[str, object]  # parameters that are logged and have no effect
    unknown: tuple[str, ...]  # fields that were let pass


class BodyDecoder(Generic[Body]):
    """Fields of the Struct are taken; of other names parameters says which values are as good as none."""

    def __init__(
        self, kind: type[Body], parameters: Mapping[str, Parameter], *, allows_unknown: bool = False
    ) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._fields = frozenset(kind.__struct_fields__)
        self._choices = dict(_choices(kind))
        self._inner_fields = _inner_fields(kind)
        self._refused = _of_kind(parameters, Kind.REFUSED)
        self._recorded = _of_kind(parameters, Kind.RECORDED)
        self._allows_unknown = allows_unknown

    def decode(self, body: bytes, **implied: object) -> Decoded[Body]:
        """implied are fields that stand elsewhere in the request, and there overrule the body's."""
        _check_marks(body)
        fields = self._parse(body)
        if not isinstance(fields, dict):
            raise InvalidRequestError("The body must be a JSON object.")
        fields |= implied
        unknown = self._sift(fields)
        try:
            request = msgspec.convert(fields, self._kind)
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from None
        recorded = {
            name: fields[name]
            for name, parameter in self._recorded.items()
            if not parameter.is_neutral(fields.get(name))
        }
        return Decoded(request, recorded, unknown)

    def _parse(self, body: bytes) -> Any:
        try:
            value = msgspec.json.decode(body)
            _check_unique(body, value)
        except msgspec.ValidationError as error:  # a number out of range; the typed decoder knows whose
            raise self._locate(body, error) from None
        except UNREADABLE as error:
            raise not_json(error) from None
        return value

    def _locate(self, body: bytes, error: msgspec.ValidationError) -> InvalidRequestError:
        try:
            self._decoder.decode(body)
        except msgspec.ValidationError as located:
            return self._refusal(str(located))
        return self._refusal(str(error))

    def _refusal(self, message: str) -> InvalidRequestError:
        """msgspec's sentence about a value of the wrong shape, in ours."""
        located = _PATH.search(message)
        path = located["path"] if located else ""
        reason = message[: located.start()] if located else message
        choice = _CHOICE.match(reason)
        if choice is not None and path in self._choices:
            allowed = ", ".join(self._choices[path])
            return InvalidRequestError(f"{path} is '{choice['value']}'; allowed: {allowed}.", param=path)
        return _misshapen(path, reason, self._inner_fields.get(_INDEX.sub("[]", path), ()))

    def _sift(self, fields: dict[str, Any]) -> tuple[str, ...]:
        """Take out what does not matter; returns unknown names. Raises InvalidRequestError for the rest."""
        others = fields.keys() - self._fields
        unknown = others - self._refused.keys()
        if unknown and (not self._allows_unknown or len(unknown) > MAX_UNKNOWN_FIELDS):
            raise _unknown(min(unknown), self._fields)
        for name in sorted(others - unknown):
            parameter = self._refused[name]
            if not parameter.is_neutral(fields[name]):
                raise InvalidRequestError(
                    f"{name} is not supported: {parameter.about}. Leave it out.",
                    param=name,
                    code="unsupported_parameter",
                )
        for name in others:
            del fields[name]
        return tuple(sorted(unknown))


def _of_kind(parameters: Mapping[str, Parameter], kind: Kind) -> dict[str, Parameter]:
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is kind}


def _unknown(name: str, known: Collection[str]) -> InvalidRequestError:
    shown = name[:ECHO_LIMIT]
    near = nearest(shown, known)
    advice = "no field is ignored: leave it out" if near is None else f"the nearest is {near}"
    return _unknown_parameter(shown, advice)


def _unknown_parameter(name: str, advice: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} is not a parameter here; {advice}.", param=name, code="unknown_parameter"
    )


def _check_marks(body: bytes) -> None:
    """Raises HttpError for a body of too many values; those in texts are counted as well, which is faster."""
    if len(body) <= MAX_MARKS:
        return
    num_marks = sum(map(body.count, _MARKS))
    if num_marks > MAX_MARKS:
        raise HttpError(
            "request_too_large",
            f"The body holds {num_marks} commas, colons and opening brackets; allowed: {MAX_MARKS}.",
        )


def _check_unique(body: bytes, value: object) -> None:
    """Raises InvalidRequestError for an object that has a field twice: the parser took the last, in silence.

    Every field of every object has a colon of its own, behind a quotation mark or behind white space. If
    there are no more of these in the body than fields came out, no field was lost. Otherwise (they also occur
    in texts) the body is parsed again, field by field.
    """
    num_colons = body.count(b'":') + sum(body.count(colon) for colon in _SPACED_COLONS)
    num_outer = len(value) if isinstance(value, dict) else 0
    if num_colons > num_outer and num_colons > _count_fields(value):
        json.loads(body, object_pairs_hook=_check_pairs)


def _count_fields(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_fields, value.values()))
    if isinstance(value, list):
        return sum(map(_count_fields, value))
    return 0


def _check_pairs(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)[:ECHO_LIMIT]
        raise InvalidRequestError(f"{twice} is given twice.", param=twice)


def _choices(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Sequence[str]]]:
    """The fields that take only certain words, and which; also those that say what else an object has."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        types = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
        for one in types:
            if isinstance(one, msgspec.inspect.LiteralType):
                yield field.name, [str(value) for value in one.values]
            elif isinstance(one, msgspec.inspect.EnumType):
                yield field.name, [str(member.value) for member in one.cls]
        tagged = [one for one in types if isinstance(one, msgspec.inspect.StructType) and one.tag_field]
        if tagged:
            yield f"{field.name}.{tagged[0].tag_field}", [str(one.tag) for one in tagged]


def _inner_fields(kind: type[msgspec.Struct]) -> dict[str, tuple[str, ...]]:
    """The fields of the objects inside, by where they stand: {"tools[].function": ("name", ...)}."""
    found: dict[str, dict[str, None]] = {}

    def visit(info: msgspec.inspect.Type, path: str) -> None:
        match info:
            case msgspec.inspect.UnionType(types=types):
                for one in types:
                    visit(one, path)
            case msgspec.inspect.ListType(item_type=item):
                visit(item, f"{path}[]")
            case msgspec.inspect.StructType(fields=fields, tag_field=tag):
                names = [*([] if tag is None else [tag]), *(field.encode_name for field in fields)]
                found.setdefault(path, {}).update(dict.fromkeys(names))
                for field in fields:
                    visit(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)

    visit(msgspec.inspect.type_info(kind), "")
    return {path: tuple(names) for path, names in found.items() if path}


def _misshapen(path: str, reason: str, known: Sequence[str]) -> InvalidRequestError:
    """known: fields of the object at path, if it is an inner one."""
    unnamed = _FIELD.match(reason)
    if unnamed is None:
        param = path or None
        return InvalidRequestError(of_shape(path or "The body", reason), param=param)
    field = unnamed["field"][:ECHO_LIMIT]
    param = f"{path}.{field}" if path else field
    if reason.startswith("Object missing"):
        return InvalidRequestError(f"{param} is missing.", param=param, code="missing_required_parameter")
    near = nearest(field, known)
    advice = f"there are {', '.join(known)}" if near is None else f"the nearest is {near}"
    return _unknown_parameter(param, advice)
