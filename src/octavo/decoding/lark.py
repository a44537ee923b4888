"""Every kind of grammar as one: text in llguidance's dialect of Lark, within limits.

What comes out may still be no grammar at all; the compiler says so. Runs in the engine process.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning
from octavo.decoding.json_schema import check_schema

MAX_GRAMMAR_BYTES = 256 << 10
MAX_REGEX_LENGTH = 8192  # characters
MAX_GBNF_LENGTH = 16384  # characters
MAX_WHITESPACE_LENGTH = 256  # characters of GrammarSpec.whitespace
MAX_CHOICES = 2048
MAX_TAGS = 256  # of one structural tag

_DIRECTIVE = "%llguidance"
# No token is forced: which ones spell a text is left to the model, and no encoder is needed here.
_TAIL = f'\n{_DIRECTIVE} {{"no_forcing": true}}\n'
_EMBEDDED = re.compile(r"%json\s*(?=\{)")
_ANY_TEXT = r"/(.|\n)*/"
_BLANKS = r"/[ \t\r\n]{0,4}/"


class _Tag(msgspec.Struct, forbid_unknown_fields=True):
    begin: str
    schema: dict[str, Any]
    end: str


class _StructuralTag(msgspec.Struct, forbid_unknown_fields=True):
    """vLLM's: free text; where a trigger appears, one of the tags that begin with it must follow."""

    structures: list[_Tag]
    triggers: list[str]
    type: str = "structural_tag"


def to_lark(spec: GrammarSpec, control_ids: Mapping[str, int]) -> str:
    """control_ids: ids of the vocabulary's control tokens by name. Raises InvalidRequestError."""
    assert spec.kind is not GrammarKind.ANYTHING  # it needs no grammar
    num_bytes = len(_encoded(spec.text)) + len(_encoded(spec.calls or ""))
    if num_bytes > MAX_GRAMMAR_BYTES:
        raise InvalidRequestError(f"The grammar has {num_bytes} bytes; allowed: {MAX_GRAMMAR_BYTES}.")
    match spec.kind:
        case GrammarKind.JSON_SCHEMA:
            schema = _parse(spec.text)
            if not isinstance(schema, dict):
                raise InvalidRequestError("The schema is not an object.")
            text = f"start: {_json_value(schema, spec.whitespace)}"
        case GrammarKind.JSON_OBJECT:
            text = f"start: {_json_value({'type': 'object'}, spec.whitespace)}"
        case GrammarKind.REGEX:
            text = f"start: {_regex(spec.text)}"
        case GrammarKind.CHOICE:
            text = f"start: {' | '.join(map(_quoted, _choices(spec.text)))}"
        case GrammarKind.LARK:
            text = _lark(spec.text, spec.whitespace)
        case GrammarKind.STRUCTURAL_TAG:
            text = _structural_tag(spec, control_ids)
    if spec.calls is not None:
        text = f"start: %lark {{\n{text}\n}} | %lark {{\n{_calls(spec.calls)}\n}}"
    if spec.reasoning is not None:
        text = _behind(spec.reasoning, text, control_ids)
    return text + _TAIL


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("The grammar holds half a surrogate pair, which is not text.") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"It is not JSON: {str(error)[:200]}.") from None


def _json_value(schema: Mapping[str, Any], whitespace: str | None) -> str:
    check_schema(schema)
    options: dict[str, object] = {"coerce_one_of": False, "lenient": False, "whitespace_flexible": False}
    if whitespace is None:
        options |= {"item_separator": ", ?", "key_separator": ": ?"}
    elif len(whitespace) > MAX_WHITESPACE_LENGTH:
        raise InvalidRequestError(
            f"The pattern of white space has {len(whitespace)} characters; allowed: {MAX_WHITESPACE_LENGTH}."
        )
    elif whitespace:
        options |= {"whitespace_flexible": True, "whitespace_pattern": whitespace}
    return "%json " + json.dumps({**schema, "x-guidance": options})


def _regex(pattern: str) -> str:
    import llguidance

    if not 1 <= len(pattern) <= MAX_REGEX_LENGTH:
        raise InvalidRequestError(
            f"The regular expression has {len(pattern)} characters; allowed: 1 to {MAX_REGEX_LENGTH}."
        )
    if re.fullmatch(r"(?s:\\.|[^\\])*", pattern) is None:
        raise InvalidRequestError("The regular expression ends with a backslash.")
    return f"/{llguidance.regex_to_lark(pattern, 'd')}/"  # digits are 0 to 9


def _choices(text: str) -> list[str]:
    choices = _parse(text)
    is_usable = isinstance(choices, list) and all(isinstance(choice, str) and choice for choice in choices)
    if not is_usable or not 1 <= len(choices) <= MAX_CHOICES:
        raise InvalidRequestError(f"The choices must be 1 to {MAX_CHOICES} strings, none of them empty.")
    return list(dict.fromkeys(choices))


def _quoted(text: str) -> str:
    """As a regular expression: its escapes can spell every character."""
    _encoded(text)
    spelled = (c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):X}}}" for c in text)
    return f"/{''.join(spelled)}/"


def _lark(text: str, whitespace: str | None) -> str:
    """Embedded schemas are checked, and given the same white space as others."""
    if "::=" in text and not text.lstrip().startswith("start:"):
        text = _of_gbnf(text)
    if _DIRECTIVE in text:
        raise InvalidRequestError(f"A grammar may not contain {_DIRECTIVE}.")
    pieces: list[str] = []
    position = 0
    for found in _EMBEDDED.finditer(text):
        if found.start() < position:
            continue  # inside a schema
        try:
            schema, end = json.JSONDecoder().raw_decode(text, found.end())
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"What follows %json is not JSON: {str(error)[:200]}.") from None
        pieces += text[position : found.start()], _json_value(schema, whitespace)
        position = end
    return "".join((*pieces, text[position:]))


def _calls(text: str) -> str:
    try:
        return _lark(text, None)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"In the parameters of a tool: {error}") from None


def _of_gbnf(text: str) -> str:
    """llama.cpp's notation."""
    from llguidance.gbnf_to_lark import gbnf_to_lark

    if len(text) > MAX_GBNF_LENGTH:
        raise InvalidRequestError(
            f"The GBNF grammar has {len(text)} characters; allowed: {MAX_GBNF_LENGTH}. Lark may be longer."
        )
    try:
        return str(gbnf_to_lark(text)).replace(f"{_DIRECTIVE} {{}}", "")
    except Exception as error:  # it raises bare ones
        raise InvalidRequestError(f"It is not a GBNF grammar: {str(error)[:200]}.") from None


def _structural_tag(spec: GrammarSpec, control_ids: Mapping[str, int]) -> str:
    try:
        tag = msgspec.convert(_parse(spec.text), _StructuralTag)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"It is not a structural tag: {error}.") from None
    if not 1 <= len(tag.structures) <= MAX_TAGS or not all(tag.triggers):
        raise InvalidRequestError(f"A structural tag has 1 to {MAX_TAGS} structures, and no empty trigger.")
    bodies: dict[str, list[str]] = {trigger: [] for trigger in tag.triggers}
    for structure in tag.structures:
        trigger = next((known for known in tag.triggers if structure.begin.startswith(known)), None)
        if trigger is None:
            raise InvalidRequestError(f"No trigger begins {structure.begin[:80]!r}.")
        begin = _literal(structure.begin.removeprefix(trigger), control_ids)
        value = _json_value(structure.schema, spec.whitespace)
        end = _literal(structure.end, control_ids)
        bodies[trigger].append(" ".join(part for part in (begin, value, end) if part))
    return _tagged_text({trigger: body for trigger, body in bodies.items() if body}, control_ids)


def _behind(reasoning: Reasoning, answer: str, control_ids: Mapping[str, int]) -> str:
    """The grammar of the answer, nested in one that has the reasoning before it."""
    closing, opening = reasoning.closing, reasoning.opening
    thoughts = "thoughts" if opening is None else f"({_literal(opening, control_ids)} thoughts)?"
    lines = [f"start: {thoughts} %lark {{", answer, "}", f"ANY: {_ANY_TEXT}"]
    if closing in control_ids:
        lines.append(f"thoughts: ANY {_control(control_ids[closing])} {_BLANKS}")
    else:  # lazy: it ends where the tag appears first
        lines += [f"head[lazy]: ANY {_quoted(closing)}", f"thoughts: head {_BLANKS}"]
    return "\n".join(lines)


def _tagged_text(bodies: Mapping[str, Sequence[str]], control_ids: Mapping[str, int]) -> str:
    names = " | ".join(f"tag_{index}" for index in range(len(bodies)))
    lines = [f"start: ({names})* ANY", f"ANY: {_ANY_TEXT}"]
    for index, (trigger, body) in enumerate(bodies.items()):
        if trigger in control_ids:
            head = f"ANY {_control(control_ids[trigger])}"
        else:  # lazy: it ends where the trigger appears first
            lines.append(f"head_{index}[lazy]: ANY {_quoted(trigger)}")
            head = f"head_{index}"
        lines.append(f"tag_{index}: {head} ({' | '.join(body)})")
    return "\n".join(lines)


def _literal(text: str, control_ids: Mapping[str, int]) -> str:
    """Text in which names of control tokens stand for these."""
    names = "|".join(map(re.escape, sorted(control_ids, key=len, reverse=True)))
    parts = re.split(f"({names})", text) if names else [text]
    return " ".join(
        _control(control_ids[part]) if part in control_ids else _quoted(part) for part in parts if part
    )


def _control(token_id: int) -> str:
    return f"<[{token_id}]>"
