import json
from collections.abc import Callable
from typing import Any

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.router.routed_request import CHUNK_BYTES, RequestReader, RoutedRequest, prefix_hashes


def read(body: bytes, **options: Any) -> RoutedRequest:
    reader = RequestReader(options.pop("resolve", lambda name, key: name), session_key="X-Session")
    head = reader.read_head({"headers": options.pop("headers", ())})
    return reader.read(body, id="id", path="/v1/completions", head=head)


def test_bytes_stay_as_they_came() -> None:
    body = b'{ "model" : "m",\n "prompt":"hi", "unknown": {"a":  1.50} }'
    request = read(body)
    assert (request.body, request.model, request.is_stream) == (body, "m", False)


def test_an_alias_changes_the_model_and_no_other_byte() -> None:
    request = read(b'{"prompt":"h\\u0069","model":"a","x":1.50}', resolve=lambda name, key: "real")
    assert request.body == b'{"prompt":"h\\u0069","model":"real","x":1.50}' and request.model == "real"


@pytest.mark.parametrize(
    ("fields", "key"),
    (
        ({"user": "u", "safety_identifier": "s"}, b'"u"'),
        ({"user": "", "safety_identifier": "s"}, b'"s"'),
        ({"metadata": {"user_id": "a", "x": 1}}, b'"a"'),
        ({"metadata": {"x": 1}, "user": None}, b'"hi"'),
        ({"metadata": "anything"}, b'"hi"'),
        ({}, b'"hi"'),
    ),
)
def test_a_share_is_drawn_by_session_then_by_user_then_by_prompt(fields: dict[str, Any], key: bytes) -> None:
    keys = []

    def resolve(name: str, key_of: Callable[[], bytes]) -> str:
        keys.append(key_of())
        return name

    body = json.dumps({"model": "m", "prompt": "hi", **fields}).encode()
    read(body, resolve=resolve)
    read(body, resolve=resolve, headers=((b"x-session", b"s1"),))
    assert keys == [key, b"s1"]


def test_a_deployment_stands_for_the_model() -> None:
    reader = RequestReader()
    for body in (b'{"prompt":"a"}', b'{"prompt":"a","model":"other"}'):
        request = reader.read(body, id="id", path="/v1/completions", deployment="real")
        assert (request.model, json.loads(request.body)) == ("real", {"prompt": "a", "model": "real"})
    with pytest.raises(InvalidRequestError, match="must be a JSON object"):
        reader.read(b"[]", id="id", path="/v1/completions", deployment="real")


def test_what_the_headers_say_is_kept() -> None:
    request = read(b'{"model":"m","stream":true}', headers=((b"x-session", b"s1"),))
    assert (request.head.session, request.is_stream) == ("s1", True)
    assert request.forwarded_lines.endswith(b"\r\nx-request-id: id\r\n")


def test_priority_is_the_clients() -> None:
    assert read(b'{"model":"m","priority":3}').priority == 3
    assert read(b'{"model":"m","priority":-3}').priority == 0  # which endpoints refuse


@pytest.mark.parametrize(
    ("body", "message"),
    (
        (b"{", "not valid JSON"),
        (b'{"model":"\xff"}', "not valid JSON: a string is not UTF-8"),
        (b"[]", "The body must be a JSON object"),
        (b'{"prompt":"hi"}', "model is missing"),
        (b'{"model":1}', "model: expected a string, got an integer"),
        (b'{"model":"m","priority":"2"}', "priority: expected an integer, got a string"),
    ),
)
def test_what_cannot_be_routed_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as raised:
        read(body)
    assert raised.value.param in (None, "model", "priority")


def test_the_load_of_a_prompt_grows_with_it() -> None:
    short, long = (read(json.dumps({"model": "m", "prompt": "x" * n}).encode()) for n in (40, 4000))
    assert short.num_prompt_tokens == 11 and long.num_prompt_tokens == 1001


def test_hashes_agree_exactly_as_far_as_prompts_do() -> None:
    base = bytes(range(256)) * 4
    other = base[: 2 * CHUNK_BYTES] + b"?" + base[2 * CHUNK_BYTES + 1 :]
    one, two = prefix_hashes(base, b"m"), prefix_hashes(other, b"m")
    assert len(one) == 4 and one[:2] == two[:2] and not set(one[2:]) & set(two[2:])
    assert prefix_hashes(base[:-1], b"m") == one[:3]
    assert not set(prefix_hashes(base, b"another model")) & set(one)
    assert prefix_hashes(b"short", b"m") == ()


def test_a_conversation_begins_as_its_next_turn_does() -> None:
    turns = [{"role": "user", "content": "x" * 700}]
    first = read(json.dumps({"model": "m", "messages": turns}).encode())
    turns += [{"role": "assistant", "content": "y" * 300}, {"role": "user", "content": "more"}]
    second = read(json.dumps({"model": "m", "messages": turns}).encode())
    assert first.prefix and second.prefix[: len(first.prefix)] == first.prefix


def test_prompts_of_two_tenants_or_two_salts_have_nothing_in_common() -> None:
    reader = RequestReader()

    def prefix(tenant: str | None = None, **fields: str) -> set[int]:
        body = json.dumps({"model": "m", "prompt": "x" * 1000, **fields}).encode()
        return set(reader.read(body, id="id", path="/v1/completions", tenant=tenant).prefix)

    everybody = [prefix(), prefix("a"), prefix("b"), prefix(cache_salt="a"), prefix("a", cache_salt="a")]
    assert len(set().union(*everybody)) == sum(map(len, everybody)) == 5 * 3
    assert prefix("a") == prefix("a")
