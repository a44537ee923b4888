"""Bodies become requests; what shape they must have is told in a sentence."""

import json
from typing import Any

import msgspec
import pytest

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.server.decoder import MAX_UNKNOWN_FIELDS, BodyDecoder, Decoded
from octavo.server.parameters import Api, parameters_of
from octavo.server.schema import ChatRequest

MESSAGES = [{"role": "user", "content": "hi"}]


def decoder(*, allows_unknown: bool = False) -> BodyDecoder[ChatRequest]:
    return BodyDecoder(ChatRequest, parameters_of(Api.CHAT), allows_unknown=allows_unknown)


def chat(**fields: Any) -> Decoded[ChatRequest]:
    return decoder().decode(msgspec.json.encode({"model": "m", "messages": MESSAGES, **fields}))


@pytest.mark.parametrize(
    ("fields", "message"),
    (
        ({"functions": [1]}, "functions is not supported: deprecated by OpenAI; send `tools`. Leave it out."),
        ({"best_of": 1}, "best_of is not a parameter here; no field is ignored: leave it out."),
        (
            {"messages": [{"role": "a", "content": "", "x": 1}]},
            "messages[0].x is not a parameter here; there",
        ),
        (
            {"messages": [{"role": "a", "contnet": ""}]},
            "messages[0].contnet is not a parameter here; the nearest is content.",
        ),
        (
            {"tools": [{"type": "function", "name": "f"}]},
            "tools[0].name is not a parameter here; there are type, function.",
        ),
        (
            {"tools": [{"function": {"name": "f", "x": 1}}]},
            "tools[0].function.x is not a parameter here; there are name, description, parameters, strict.",
        ),
        (
            {"response_format": {"type": "json_schema", "schema": {}}},
            "response_format.schema is not a parameter here; the nearest is json_schema.",
        ),
        ({"temprature": 1}, "temprature is not a parameter here; the nearest is temperature."),
        ({"max_output_tokens": 1}, "max_output_tokens is not a parameter here; the nearest is max_tokens."),
        ({"model": 1}, "model: expected a string, got an integer."),
        ({"messages": [{"content": "a"}]}, "messages[0].role is missing."),
        ({"temperature": "hot"}, "temperature: expected a number, got a string."),
        ({"truncation_side": ""}, "truncation_side is ''; allowed: left, right."),
        ({"truncation_side": "x" * 999}, f"truncation_side is '{'x' * ECHO_LIMIT}'; allowed: left, right."),
        (
            {"response_format": {"type": "json"}},
            "response_format.type is 'json'; allowed: text, json_object, json_schema, structural_tag.",
        ),
        ({"user": "x" * 257}, "user: expected a string of length <= 256."),
    ),
)
def test_the_sentence_names_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(**fields)
    assert str(caught.value).startswith(message)


def test_a_number_out_of_range_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decoder().decode(b'{"model":"m","messages":[],"temperature":1e999}')
    assert caught.value.param == "temperature"


def test_values_that_ask_for_nothing_pass() -> None:
    neutral = {"use_beam_search": False, "functions": [], "length_penalty": 1.0}
    assert chat(**neutral, function_call="auto", audio=None) == chat()


@pytest.mark.parametrize("fields", ({"n": True}, {"use_beam_search": 0}, {"presence_penalty": False}))
def test_a_flag_is_no_number(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        chat(**fields)


def test_recorded_parameters_are_told_apart() -> None:
    given = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "flex"}
    assert chat(**given).recorded == given
    assert chat(store=False, service_tier="auto", metadata={}, user=None).recorded == {}


def test_unknown_fields_pass_if_they_may() -> None:
    body = {"model": "m", "messages": MESSAGES, "zebra": 1, "ant": {"x": 2}}
    decoded = decoder(allows_unknown=True).decode(json.dumps(body).encode())
    assert decoded.unknown == ("ant", "zebra")
    with pytest.raises(InvalidRequestError, match="functions is not supported"):
        decoder(allows_unknown=True).decode(json.dumps({**body, "functions": [1]}).encode())


def test_implied_fields_overrule_the_body() -> None:
    body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    assert decoder().decode(body, model="deployed").request.model == "deployed"


def test_a_long_field_name_is_not_repeated() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(**{"x" * 10_000: 1})
    assert len(str(caught.value)) < 200 and len(caught.value.param or "") < 100


@pytest.mark.parametrize("depth", (100, 400, 900, 990, 2_000))
@pytest.mark.parametrize("open_close", ("[]", ('{"a":', "}")))
def test_depth_is_no_defect(depth: int, open_close: tuple[str, str]) -> None:
    opening, closing = open_close
    nested = opening * depth + "1" + closing * depth
    with pytest.raises(InvalidRequestError):
        decoder().decode(f'{{"model":"m","messages":[],"tools":{nested}}}'.encode())


TWICE = (
    ('{"model":"m","messages":[],"max_tokens":1,"max_tokens":2}', "max_tokens"),
    ('{"model":"m","messages":[],"model":"m"}', "model"),
    ('{"model":"m","messages":[],"mod\\u0065l":"m"}', "model"),
    ('{"model":"m","messages":[],"model" :"m"}', "model"),
    ('{"model":"m","messages":[],"model"  \t:"m"}', "model"),
    ('{"model"\n:"m","messages":[],"model"\r\n:"m"}', "model"),
    ('{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}', "content"),
    (
        '{"model":"m","messages":[],"stream_options":{"include_usage":true,"include_usage":false}}',
        "include_usage",
    ),
)


@pytest.mark.parametrize(("body", "field"), TWICE)
def test_no_field_may_be_given_twice(body: str, field: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{field} is given twice") as caught:
        decoder().decode(body.encode())
    assert caught.value.param == field


@pytest.mark.parametrize("content", ('{"a": 1, "a": 2}', "she said: : :", '"":"":', "\n:\t:\\"))
def test_colons_in_texts_are_no_fields(content: str) -> None:
    assert chat(messages=[{"role": "user", "content": content}]).request.messages[0].content == content


def test_there_are_not_many_unknown_fields() -> None:
    names = [f"x{number:02}" for number in range(MAX_UNKNOWN_FIELDS + 1)]
    body = {"model": "m", "messages": MESSAGES, **dict.fromkeys(names[1:], 1)}
    assert len(decoder(allows_unknown=True).decode(json.dumps(body).encode()).unknown) == MAX_UNKNOWN_FIELDS
    with pytest.raises(InvalidRequestError, match="x00 is not a parameter here"):
        decoder(allows_unknown=True).decode(json.dumps({**body, "x00": 1}).encode())
