"""The built-in model at temperature 1 answers more than 300 JSON schemas; an independent validator judges."""

import json
import pathlib
from collections.abc import Iterator, Mapping

import jsonschema
import pytest

from octavo import LLM, GrammarKind, GrammarSpec, SamplingParams
from octavo.core.request import FinishReason
from octavo.decoding.json_schema import KEYWORDS
from tests.decoding.schemas import Schema, all_schemas

SCHEMAS = all_schemas()
QUICK = dict(list(SCHEMAS.items())[::5])
QUESTION = [{"role": "user", "content": "Give an example in JSON."}]


@pytest.fixture
def llm(smollm2_path: pathlib.Path) -> Iterator[LLM]:
    with LLM(str(smollm2_path), max_model_len=1024, kv_cache_memory=512 << 20) as llm:
        yield llm


def validator(schema: Schema) -> jsonschema.protocols.Validator:
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def share_that_stops(llm: LLM, schemas: Mapping[str, Schema], max_tokens: int) -> float:
    """Whatever stops is valid."""
    params = [SamplingParams(temperature=1, max_tokens=max_tokens, seed=seed) for seed in range(len(schemas))]
    grammars = [GrammarSpec(GrammarKind.JSON_SCHEMA, json.dumps(schema)) for schema in schemas.values()]
    answers = llm.generate([llm.encode_chat(QUESTION)] * len(schemas), params, grammar=grammars)
    stopped = [
        (name, schema, answer.text)
        for (name, schema), answer in zip(schemas.items(), answers, strict=True)
        if answer.finish_reason is FinishReason.STOP
    ]
    for name, schema, text in stopped:
        errors = [error.message for error in validator(schema).iter_errors(json.loads(text))]
        assert not errors, f"{name}: {text}: {errors}"
    return len(stopped) / len(schemas)


def test_there_are_enough_and_they_are_of_every_kind() -> None:
    assert len(SCHEMAS) >= 300 and len(QUICK) >= 60
    used = {keyword for keyword in KEYWORDS if f'"{keyword}":' in json.dumps(SCHEMAS)}
    assert set(KEYWORDS) == used


def test_what_stops_is_valid(llm: LLM) -> None:
    assert share_that_stops(llm, QUICK, max_tokens=128) >= 0.95


@pytest.mark.full
@pytest.mark.timeout(900)
def test_what_stops_of_all_is_valid(llm: LLM) -> None:
    assert share_that_stops(llm, SCHEMAS, max_tokens=512) >= 0.95
