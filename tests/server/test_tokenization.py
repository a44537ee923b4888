"""/tokenize and /detokenize, in vLLM's shapes."""

from typing import Any

import pytest

from tests.fakes import END_ID, MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.server.serving import asgi_client

pytestmark = pytest.mark.asyncio

MESSAGES = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "weather"}}


async def post(path: str, **body: Any) -> Any:
    async with asgi_client(fake_replica(FakeEngine())) as client:
        return await client.post(path, json=body)


async def test_a_prompt_is_tokenized() -> None:
    response = await post("/tokenize", model="tiny", prompt="né")
    expected = {"count": 3, "max_model_len": MAX_MODEL_LEN, "tokens": list("né".encode()), "token_strs": None}
    assert (response.status_code, response.json()) == (200, expected)


async def test_tokens_are_spelled_when_asked_for() -> None:
    response = await post("/tokenize", prompt="ab", return_token_strs=True, add_special_tokens=False)
    assert response.json()["token_strs"] == ["a", "b"]


async def test_messages_go_through_the_template() -> None:
    response = await post("/tokenize", messages=MESSAGES, add_generation_prompt=False)
    assert bytes(response.json()["tokens"]) == b"user:hi\n-"


async def test_tools_count_as_in_a_chat() -> None:
    tokens = (await post("/tokenize", messages=MESSAGES, tools=[TOOL])).json()["tokens"]
    assert b'"name": "weather"' in bytes(tokens)
    assert bytes((await post("/tokenize", messages=MESSAGES, tools=[])).json()["tokens"]) == b"user:hi\n"


async def test_a_prompt_may_be_longer_than_the_context() -> None:
    response = await post("/tokenize", prompt="x" * 10 * MAX_MODEL_LEN)
    assert response.json()["count"] == 10 * MAX_MODEL_LEN


@pytest.mark.parametrize("text", ("", "Grüße 🌍"))
async def test_detokenize_is_the_way_back(text: str) -> None:
    tokens = (await post("/tokenize", prompt=text)).json()["tokens"]
    response = await post("/detokenize", model="default", tokens=tokens)
    assert response.json() == {"prompt": text}


async def test_control_tokens_are_spelled_out() -> None:
    assert (await post("/detokenize", tokens=[97, END_ID])).json() == {"prompt": "a<end>"}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": "a", "messages": MESSAGES}, "prompt"),
    ("/tokenize", {"prompt": 1}, "prompt"),
    ("/tokenize", {"prompt": "x" * 65 * MAX_MODEL_LEN}, "prompt"),
    ("/tokenize", {"messages": []}, "messages"),
    ("/tokenize", {"prompt": "a", "tools": [TOOL]}, "tools"),
    ("/tokenize", {"messages": MESSAGES, "tools": [{"type": "custom"}]}, "tools[0].type"),
    ("/tokenize", {"messages": MESSAGES, "add_special_tokens": True}, "add_special_tokens"),
    ("/tokenize", {"prompt": "a", "chat_template": "{{ x }}"}, "chat_template"),
    ("/tokenize", {"prompt": "a", "other": 1}, "other"),
    ("/detokenize", {}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"),
    ("/detokenize", {"tokens": [2**40]}, "tokens"),
    ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
]


@pytest.mark.parametrize(("path", "body", "param"), REFUSED)
async def test_the_field_at_fault_is_named(path: str, body: dict[str, Any], param: str) -> None:
    response = await post(path, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ("/tokenize", "/detokenize"))
async def test_the_model_must_be_served(path: str) -> None:
    body: dict[str, Any] = {"prompt": "a"} if path == "/tokenize" else {"tokens": [1]}
    assert (await post(path, model="other", **body)).status_code == 404
