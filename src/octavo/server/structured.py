"""The fields that say what an answer must look like, OpenAI's and vLLM's, as one GrammarSpec.

What they hold is checked where it is compiled (decoding/), before the request is admitted: what is wrong with
it is answered as a 400 like any other bad field.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec

Schema = dict[str, Any]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class TextFormat(msgspec.Struct, tag="text", forbid_unknown_fields=True):
    """Anything."""


class JsonObjectFormat(msgspec.Struct, tag="json_object", forbid_unknown_fields=True):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """strict makes no difference: the answer always follows the schema."""

    schema: Schema
    name: Name | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(msgspec.Struct, tag="json_schema", forbid_unknown_fields=True):
    json_schema: JsonSchema


class StructuralTagFormat(
    msgspec.Struct, tag="structural_tag", forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Either of two spellings: format, or structures and triggers."""

    format: dict[str, Any] | None = None
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat


class StructuredOutputs(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """vLLM's; one of the first six."""

    json: Schema | str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: dict[str, Any] | str | None = None
    whitespace_pattern: str | None = None
    disable_any_whitespace: bool | None = None
    disable_fallback: bool | None = None  # there is one compiler and nothing to fall back to
    disable_additional_properties: bool | None = None


class StructuredFields(msgspec.Struct, kw_only=True):
    """Of a generation request."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    guided_decoding_backend: str | None = None
    structural_tag: dict[str, Any] | str | None = None

    def grammar(self) -> GrammarSpec | None:
        """What the answer must look like; None: anything. Raises InvalidRequestError for two of them."""
        specs = [*self._of_response_format(), *self._of_structured_outputs(), *self._of_guided()]
        if len(specs) > 1:
            raise InvalidRequestError(
                f"{specs[0].field} and {specs[1].field} both say what the answer must look like; send one.",
                param=specs[1].field,
            )
        if not specs and self.structured_outputs is not None:
            raise InvalidRequestError(
                "structured_outputs says nothing of the answer; it takes one of json, regex, choice, "
                "grammar, json_object and structural_tag.",
                param="structured_outputs",
            )
        spec = specs[0] if specs else None
        pattern = self.guided_whitespace_pattern
        return spec if pattern is None else _spaced(spec, pattern, "guided_whitespace_pattern")

    def _of_response_format(self) -> Iterator[GrammarSpec]:
        wanted = self.response_format
        if isinstance(wanted, JsonObjectFormat):
            yield GrammarSpec(GrammarKind.JSON_OBJECT, field="response_format")
        elif isinstance(wanted, JsonSchemaFormat):
            field = "response_format.json_schema.schema"
            yield GrammarSpec(GrammarKind.JSON_SCHEMA, _text(wanted.json_schema.schema), field)
        elif isinstance(wanted, StructuralTagFormat):
            yield GrammarSpec(GrammarKind.STRUCTURAL_TAG, _text(wanted), "response_format")

    def _of_structured_outputs(self) -> Iterator[GrammarSpec]:
        wanted = self.structured_outputs
        if wanted is None:
            return
        pattern, param = wanted.whitespace_pattern, "structured_outputs.whitespace_pattern"
        if wanted.disable_any_whitespace:
            if pattern is not None:
                raise InvalidRequestError(f"{param} is allowed only where there is any.", param=param)
            pattern, param = "", "structured_outputs.disable_any_whitespace"
        if wanted.disable_additional_properties:
            param = "structured_outputs.disable_additional_properties"
            raise InvalidRequestError(f"{param} is true; the schema itself has to say so.", param=param)
        specs = _specs(
            "structured_outputs.",
            json=wanted.json,
            regex=wanted.regex,
            choice=wanted.choice,
            grammar=wanted.grammar,
            json_object=wanted.json_object or None,
            structural_tag=wanted.structural_tag,
        )
        yield from specs if pattern is None else (_spaced(spec, pattern, param) for spec in specs)

    def _of_guided(self) -> Iterator[GrammarSpec]:
        yield from _specs(
            "guided_",
            json=self.guided_json,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
        )
        if self.structural_tag is not None:
            yield GrammarSpec(GrammarKind.STRUCTURAL_TAG, _text(self.structural_tag), "structural_tag")


_KINDS = {
    "json": GrammarKind.JSON_SCHEMA,
    "regex": GrammarKind.REGEX,
    "choice": GrammarKind.CHOICE,
    "grammar": GrammarKind.LARK,
    "json_object": GrammarKind.JSON_OBJECT,
    "structural_tag": GrammarKind.STRUCTURAL_TAG,
}


_HAS_JSON = frozenset(GrammarKind) - {GrammarKind.REGEX, GrammarKind.CHOICE}


def _specs(prefix: str, **values: object) -> Iterator[GrammarSpec]:
    for name, value in values.items():
        if value is not None:
            yield GrammarSpec(_KINDS[name], "" if value is True else _text(value), prefix + name)


def _spaced(spec: GrammarSpec | None, pattern: str, param: str) -> GrammarSpec:
    """With other white space in its JSON."""
    if spec is None or spec.kind not in _HAS_JSON:
        raise InvalidRequestError(f"{param} is allowed only with an answer that has JSON in it.", param=param)
    return dataclasses.replace(spec, whitespace=pattern)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
