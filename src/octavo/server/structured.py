"""The fields that say what an answer must look like, OpenAI's and vLLM's, as one GrammarSpec.

What they hold is checked where it is compiled (decoding/), before the request is admitted: what is wrong with
it is answered as a 400 like any other bad field.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

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
    disable_additional_properties: Literal[False] | None = None


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

    def grammar(self) -> GrammarSpec | None:
        """What the answer must look like; None: anything. Raises InvalidRequestError for two of them."""
        specs = [*self._of_response_format(), *self._of_structured_outputs(), *self._of_guided()]
        if len(specs) > 1:
            raise InvalidRequestError(
                f"{specs[0].field} and {specs[1].field} both say what the answer must look like; send one.",
                param=specs[1].field,
            )
        if not specs:
            self._check_idle_fields()
        return specs[0] if specs else None

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
        whitespace = "" if wanted.disable_any_whitespace else wanted.whitespace_pattern
        yield from _specs(
            "structured_outputs.",
            whitespace,
            json=wanted.json,
            regex=wanted.regex,
            choice=wanted.choice,
            grammar=wanted.grammar,
            json_object=wanted.json_object or None,
            structural_tag=wanted.structural_tag,
        )

    def _of_guided(self) -> Iterator[GrammarSpec]:
        yield from _specs(
            "guided_",
            self.guided_whitespace_pattern,
            json=self.guided_json,
            regex=self.guided_regex,
            choice=self.guided_choice,
            grammar=self.guided_grammar,
        )

    def _check_idle_fields(self) -> None:
        if self.structured_outputs is not None:
            raise InvalidRequestError(
                "structured_outputs says nothing of the answer; it takes one of json, regex, choice, "
                "grammar, json_object and structural_tag.",
                param="structured_outputs",
            )
        if self.guided_whitespace_pattern is not None:
            raise InvalidRequestError(
                "guided_whitespace_pattern is allowed only with a JSON schema.",
                param="guided_whitespace_pattern",
            )


_KINDS = {
    "json": GrammarKind.JSON_SCHEMA,
    "regex": GrammarKind.REGEX,
    "choice": GrammarKind.CHOICE,
    "grammar": GrammarKind.LARK,
    "json_object": GrammarKind.JSON_OBJECT,
    "structural_tag": GrammarKind.STRUCTURAL_TAG,
}


def _specs(prefix: str, whitespace: str | None, **values: object) -> Iterator[GrammarSpec]:
    for name, value in values.items():
        if value is not None:
            text = "" if value is True else _text(value)
            yield GrammarSpec(_KINDS[name], text, prefix + name, whitespace)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
