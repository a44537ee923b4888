"""Every kind of grammar as one: text in llguidance's dialect of Lark, within limits.

What comes out may still be no grammar at all; the compiler says so. Runs in the engine process.
"""

import json
import re
from collections.abc import Mapping

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, Reasoning
from octavo.decoding.lark_parts import ANY_TEXT, control, encoded, json_value, literal, parse, quoted, regex
from octavo.decoding.structural_tag import structural_tag

MAX_GRAMMAR_BYTES = 256 << 10
MAX_GBNF_LENGTH = 16384  # characters
MAX_CHOICES = 2048

_DIRECTIVE = "%llguidance"
# No token is forced: which ones spell a text is left to the model, and no encoder is needed here.
_TAIL = f'\n{_DIRECTIVE} {{"no_forcing": true}}\n'
_EMBEDDED = re.compile(r"%json\s*(?=\{)")
_RULE = re.compile(r"^\s*([a-z]\w*)[^\n:]*:", re.MULTILINE)
_BLANKS = r"/[ \t\r\n]{0,4}/"


def to_lark(spec: GrammarSpec, control_ids: Mapping[str, int]) -> str:
    """control_ids: ids of the vocabulary's control tokens by name. Raises InvalidRequestError."""
    assert spec.kind is not GrammarKind.ANYTHING  # it needs no grammar
    num_bytes = len(encoded(spec.text)) + len(encoded(spec.calls or ""))
    if num_bytes > MAX_GRAMMAR_BYTES:
        raise InvalidRequestError(f"The grammar has {num_bytes} bytes; allowed: {MAX_GRAMMAR_BYTES}.")
    match spec.kind:
        case GrammarKind.JSON_SCHEMA:
            schema = parse(spec.text)
            if not isinstance(schema, dict):
                raise InvalidRequestError("The schema is not an object.")
            text = f"start: {json_value(schema, spec.whitespace)}"
        case GrammarKind.JSON_OBJECT:
            text = f"start: {json_value({'type': 'object'}, spec.whitespace)}"
        case GrammarKind.REGEX:
            text = f"start: {regex(spec.text)}"
        case GrammarKind.CHOICE:
            text = f"start: {' | '.join(map(quoted, _choices(spec.text)))}"
        case GrammarKind.LARK:
            text = _lark(spec.text, spec.whitespace)
        case GrammarKind.STRUCTURAL_TAG:
            text = structural_tag(spec.text, spec.whitespace, control_ids)
    if spec.calls is not None:
        text = f"start: %lark {{\n{text}\n}} | %lark {{\n{_calls(spec.calls)}\n}}"
    if spec.reasoning is not None:
        text = _behind(spec.reasoning, text, control_ids)
    return text + _TAIL


def _choices(text: str) -> list[str]:
    choices = parse(text)
    is_usable = isinstance(choices, list) and all(isinstance(choice, str) and choice for choice in choices)
    if not is_usable or not 1 <= len(choices) <= MAX_CHOICES:
        raise InvalidRequestError(f"The choices must be 1 to {MAX_CHOICES} strings, none of them empty.")
    return list(dict.fromkeys(choices))


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
        try:
            value = json_value(schema, whitespace)
        except InvalidRequestError as error:
            rules = _RULE.findall(text[: found.start()])
            raise InvalidRequestError(f"In the rule {rules[-1] if rules else 'start'}: {error}") from None
        pieces += text[position : found.start()], value
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


def _behind(reasoning: Reasoning, answer: str, control_ids: Mapping[str, int]) -> str:
    """The grammar of the answer, nested in one that has the reasoning before it."""
    closing, opening = reasoning.closing, reasoning.opening
    thoughts = "thoughts" if opening is None else f"({literal(opening, control_ids)} thoughts)?"
    lines = [f"start: {thoughts} %lark {{", answer, "}", f"ANY: {ANY_TEXT}"]
    if closing in control_ids:
        lines.append(f"thoughts: ANY {control(control_ids[closing])} {_BLANKS}")
    else:  # lazy: it ends where the tag appears first
        lines += [f"head[lazy]: ANY {quoted(closing)}", f"thoughts: head {_BLANKS}"]
    return "\n".join(lines)
