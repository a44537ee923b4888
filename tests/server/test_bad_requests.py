"""Whatever a client sends, it gets a status below 500 and OpenAI's error JSON that names what was wrong."""

import json
from typing import Any

import pytest

from tests.fakes import MAX_MODEL_LEN, VOCAB_SIZE, FakeEngine, fake_replica
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hi"}]
JSON = {"content-type": "application/json"}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "default", "messages": MESSAGES, **fields}


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": "default", "prompt": "hi", **fields}


def without(body: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != field}


def content(value: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": value}])


async def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
    replica = fake_replica(FakeEngine(), max_body_bytes=200_000)
    async with asgi_client(replica) as client:
        response = await client.post(path, content=body, headers=JSON if headers is None else headers)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in error["message"] and "/src/" not in error["message"]
    assert replica.engine.submitted == []
    return response.status_code, error


NOT_JSON = {
    "cut": b'{"model":"m"',
    "empty": b"",
    "invalid byte": b"\xff",
    "UTF-16": '{"model":"default"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "overlong UTF-8": b'{"model":"a\xc0\xafb"}',
    "encoded surrogate": b'{"model":"\xed\xa0\x80"}',
    "lone surrogate": b'{"model":"\\ud800"}',
    "NUL in a string": b'{"model":"a\x00b"}',
    "NaN": b'{"model":"default","temperature":NaN}',
    "Infinity": b'{"model":"default","temperature":Infinity}',
}


@pytest.mark.parametrize("name", NOT_JSON)
@pytest.mark.parametrize("path", (CHAT, COMPLETIONS))
async def test_what_is_not_json_is_named_so(path: str, name: str) -> None:
    status, error = await post(path, NOT_JSON[name])
    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_json")


@pytest.mark.parametrize(
    "body",
    (
        *(b"[]", b'"x"', b"1", b"null", b"true"),
        b"[" * 2_000,
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b'{"model":"default","messages":' + b"[" * 100_000,
        b'{"model":"default","messages":[{"role":"user","content":' + b'[{"type":' * 10_000,
        b'{"model":"default","temperature":1e999}',
        b'{"model":"default","max_tokens":1' + b"0" * 10_000 + b"}",
        b'{"model":"default","temperature":1' + b"0" * 10_000 + b"}",
    ),
    ids=lambda body: f"{body[:30]!r}-{len(body)}",
)
async def test_odd_json_is_refused(body: bytes) -> None:
    status, error = await post(CHAT, body)
    assert (status, error["type"]) == (400, "invalid_request_error")


# (path, body, param)
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *((CHAT, without(chat(), field), field) for field in ("model", "messages")),
    *((COMPLETIONS, without(completion(), field), field) for field in ("model", "prompt")),
    *(
        (CHAT, chat(**{field: 2}), field)
        for field in (
            *("logprobs", "tools", "tool_choice", "response_format", "logit_bias", "best_of"),
            *("prompt", "chat_template", "request_id"),
        )
    ),
    *((COMPLETIONS, completion(**{field: 2}), field) for field in ("echo", "suffix", "messages")),
    *((CHAT, chat(n=value), "n") for value in (0, -1, 129, "2", True)),
    (COMPLETIONS, completion(prompt=["a", "b"], n=65), "n"),
    (COMPLETIONS, completion(prompt=["a", "b"], best_of=65), "best_of"),
    (COMPLETIONS, completion(prompt_logprobs=21), "prompt_logprobs"),
    *(
        (CHAT, chat(**{field: value}), field)
        for field in ("frequency_penalty", "presence_penalty")
        for value in (-2.1, 2.1, "1", True)
    ),
    *((CHAT, chat(repetition_penalty=value), "repetition_penalty") for value in (0, -1, 101)),
    *(
        (CHAT, chat(logit_bias=value), "logit_bias")
        for value in (
            [],
            {"a": 1},
            {"-1": 1},
            {"\u0663": 1},
            {"1": 101},
            {str(VOCAB_SIZE): 1},
            {"01": 1, "1": 2},
        )
    ),
    (CHAT, chat(logit_bias={str(token): 1 for token in range(1025)}), "logit_bias"),
    *((CHAT, chat(allowed_token_ids=value), "allowed_token_ids") for value in ([], [-1], [VOCAB_SIZE])),
    (COMPLETIONS, completion(max_completion_tokens=3), "max_completion_tokens"),
    (CHAT, chat(model=1), "model"),
    (CHAT, chat(messages=[]), "messages"),
    (CHAT, chat(messages="hi"), "messages"),
    (CHAT, chat(messages=[{"role": "user", "content": "a"}] * 100), "messages"),
    (CHAT, chat(messages=["hi"]), "messages[0]"),
    (CHAT, chat(messages=[{"content": "hi"}]), "messages[0].role"),
    (CHAT, chat(messages=[{"role": "robot", "content": "hi"}]), "messages[0].role"),
    (CHAT, chat(messages=[*MESSAGES, {"role": "user"}]), "messages[1].content"),
    (CHAT, chat(messages=[{"role": "user", "content": "a", "name": 1}]), "messages[0].name"),
    (CHAT, chat(messages=[{"role": "user", "content": "a", "mood": "b"}]), "messages[0].mood"),
    *((CHAT, chat(user=value), "user") for value in (1, "x" * 257)),
    *((CHAT, chat(cache_salt=value), "cache_salt") for value in (1, "", "x" * 257)),
    *((CHAT, chat(metadata=value), "metadata") for value in ("a", dict.fromkeys(map(str, range(17)), "a"))),
    *((CHAT, chat(stop_token_ids=value), "stop_token_ids") for value in ([-1], [VOCAB_SIZE], [1] * 65)),
    (CHAT, chat(stop_token_ids=["a"]), "stop_token_ids[0]"),
    (CHAT, chat(skip_special_tokens=1), "skip_special_tokens"),
    (CHAT, content(None), "messages[0].content"),
    (CHAT, content(5), "messages[0].content"),
    (CHAT, content([]), "messages[0].content"),
    (CHAT, content([{"text": "a"}]), "messages[0].content[0].type"),
    (CHAT, content([{"type": "text"}]), "messages[0].content[0].text"),
    (CHAT, content([{"type": "text", "text": "a", "cache": 1}]), "messages[0].content[0].cache"),
    (CHAT, content([{"type": "image_url", "text": "a"}]), "messages[0].content[0].type"),
    *((CHAT, chat(max_tokens=value), "max_tokens") for value in (0, -1, 1.5, "10", 10**18, True)),
    (CHAT, chat(max_tokens=3, max_completion_tokens=4), "max_completion_tokens"),
    (CHAT, chat(max_completion_tokens=0), "max_tokens"),
    *((CHAT, chat(temperature=value), "temperature") for value in (-1, 3, "hot", 1e308, True)),
    *((CHAT, chat(top_p=value), "top_p") for value in (0, 1.1, "1")),
    *((CHAT, chat(top_k=value), "top_k") for value in (-2, 2**40, 1.5)),
    *((CHAT, chat(min_p=value), "min_p") for value in (2, -0.1)),
    *((CHAT, chat(seed=value), "seed") for value in (2**70, 2**63, "a", 1.5)),
    *((CHAT, chat(stop=value), "stop") for value in (5, "", [""], ["a"] * 65, "x" * 1025)),
    (CHAT, chat(stop=[1]), "stop[0]"),
    *((CHAT, chat(min_tokens=value), "min_tokens") for value in (-1, "1")),
    (CHAT, chat(min_tokens=5, max_tokens=4), "min_tokens"),
    (CHAT, chat(ignore_eos="yes"), "ignore_eos"),
    (CHAT, chat(stream="yes"), "stream"),
    (CHAT, chat(stream_options={"include_usage": True}), "stream_options"),
    (CHAT, chat(stream=True, stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
    (CHAT, chat(stream=True, stream_options={"other": 1}), "stream_options.other"),
    *(
        (COMPLETIONS, completion(prompt=value), "prompt")
        for value in ("", [], None, 5, [1, "a"], ["a"] * 129)
    ),
    *((COMPLETIONS, completion(prompt=value), "prompt[0]") for value in ([""], [[]], [True], [1.0])),
    *((COMPLETIONS, completion(prompt=[1, value]), "prompt") for value in (-1, VOCAB_SIZE, 2**31, 2**63)),
]


@pytest.mark.parametrize(
    ("path", "body", "param"), REFUSED, ids=[f"{i}-{case[2]}" for i, case in enumerate(REFUSED)]
)
async def test_the_field_at_fault_is_named(path: str, body: dict[str, Any], param: str) -> None:
    status, error = await post(path, json.dumps(body).encode())
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert error["message"].endswith(".")


CODES = (
    (chat(functions=[1]), "unsupported_parameter"),
    (chat(zebra=2), "unknown_parameter"),
    (without(chat(), "messages"), "missing_required_parameter"),
    *(
        (
            content([{"type": "text", "text": "a"}, {"type": kind, kind: {"url": "data:,"}}]),
            "unsupported_content",
        )
        for kind in ("image_url", "input_audio", "file", "video_url", "audio_url", "refusal")
    ),
    (content("x" * MAX_MODEL_LEN), "context_length_exceeded"),
    (content("x" * MAX_MODEL_LEN * 65), "context_length_exceeded"),
    (chat(max_tokens=MAX_MODEL_LEN), "context_length_exceeded"),
    (chat(temperature=9), "invalid_value"),
)


@pytest.mark.parametrize(("body", "code"), CODES, ids=[code for _, code in CODES])
async def test_errors_have_codes_for_programs(body: dict[str, Any], code: str) -> None:
    status, error = await post(CHAT, json.dumps(body).encode())
    assert (status, error["code"]) == (400, code)


@pytest.mark.parametrize(
    "headers", ({}, {"content-type": "text/plain"}, {**JSON, "content-encoding": "gzip"})
)
async def test_only_plain_json_is_read(headers: dict[str, str]) -> None:
    status, error = await post(CHAT, json.dumps(chat()).encode(), headers)
    assert (status, error["code"]) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused_unread() -> None:
    status, error = await post(CHAT, b" " * 200_001)
    assert (status, error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("name", ("other", "", "../../etc/passwd", "x" * 100_000))
async def test_an_unknown_model_is_told_the_names(name: str) -> None:
    status, error = await post(CHAT, json.dumps(chat(model=name)).encode())
    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert "Served: tiny, alias, default." in error["message"] and len(error["message"]) < 200
