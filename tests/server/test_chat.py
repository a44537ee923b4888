"""The chat API as OpenAI's own client sees it, over a real socket."""

import json

import httpx2
import openai
import pytest

from tests.fakes import MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.server.serving import asgi_client, serving

pytestmark = pytest.mark.asyncio

MESSAGES = [{"role": "user", "content": "hi"}]
PROMPT = b"user:hi\n"


def sdk(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


async def events(url: str, **fields: object) -> list[str]:
    """The data of each event of a streamed chat."""
    async with httpx2.AsyncClient() as client:
        body = {"model": "tiny", "messages": MESSAGES, "stream": True, **fields}
        response = await client.post(f"{url}/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text.endswith("\n\n")
    return [event.removeprefix("data: ") for event in response.text[:-2].split("\n\n")]


async def test_a_whole_answer() -> None:
    async with serving(FakeEngine("Grüße 🌍".encode())) as (_, url), sdk(url) as client:
        answer = await client.chat.completions.create(model="default", messages=MESSAGES)  # type: ignore[arg-type]
    (choice,) = answer.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", "Grüße 🌍")
    assert (choice.finish_reason, answer.model, answer.object) == ("stop", "default", "chat.completion")
    assert answer.id.startswith("chatcmpl-") and answer.system_fingerprint == "fp_0123456789ab"
    usage = answer.usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (
        len(PROMPT),
        12,
        len(PROMPT) + 12,
    )
    assert usage.prompt_tokens_details.cached_tokens == 2


async def test_a_streamed_answer() -> None:
    async with serving(FakeEngine("Grüße 🌍".encode())) as (_, url), sdk(url) as client:
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
        chunks = [chunk async for chunk in stream]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Grüße 🌍"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_events_of_a_stream() -> None:
    async with serving(FakeEngine(b"ok")) as (_, url):
        role, *deltas, end, done = await events(url)
    assert done == "[DONE]"
    assert json.loads(role)["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in deltas) == "ok"
    assert json.loads(end)["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    ]
    assert "usage" not in json.loads(end)


async def test_usage_comes_last_when_asked_for() -> None:
    async with serving(FakeEngine(b"ok")) as (_, url):
        *chunks, usage, done = await events(url, stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert all(json.loads(chunk)["usage"] is None for chunk in chunks)
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"]["completion_tokens"] == 2


async def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    engine = FakeEngine()
    async with serving(engine) as (_, url), sdk(url) as client:
        await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": parts}])  # type: ignore[arg-type, list-item, misc]
    assert bytes(engine.submitted[0].token_ids) == PROMPT


async def test_a_stop_string_ends_the_answer_and_the_engines_work() -> None:
    engine = FakeEngine(b"one END two")
    async with serving(engine) as (_, url), sdk(url) as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, stop="END")  # type: ignore[arg-type]
        chunks = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, stop=["END"], stream=True
        )  # type: ignore[call-overload]
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    assert (answer.choices[0].message.content, streamed) == ("one ", "one ")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.completion_tokens == len("one END")


async def test_logprobs_of_a_stream_are_those_of_the_whole_answer() -> None:
    engine = FakeEngine("Grü END".encode())
    asked = {"logprobs": True, "top_logprobs": 3, "stop": "END"}
    async with serving(engine) as (_, url), sdk(url) as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, **asked)  # type: ignore[call-overload]
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, **asked)  # type: ignore[call-overload]
        told = [chunk.choices[0] async for chunk in stream]
    whole = answer.choices[0].logprobs.content
    assert bytes(byte for entry in whole for byte in entry.bytes) == "Grü END".encode()
    assert [entry.token for entry in whole[2:4]] == ["\\xc3", "\\xbc"]
    assert [(len(e.top_logprobs), e.top_logprobs[1].token == e.token) for e in whole] == [(3, True)] * len(
        whole
    )
    assert [entry for choice in told if choice.logprobs for entry in choice.logprobs.content] == whole
    for count in range(len(told)):
        text = "".join(choice.delta.content or "" for choice in told[:count])
        entries = [e for choice in told[:count] if choice.logprobs for e in choice.logprobs.content]
        if len(entries) < len(whole):
            assert text.encode().startswith(bytes(byte for entry in entries for byte in entry.bytes))


async def test_without_alternatives_only_the_token_is_told() -> None:
    async with serving(FakeEngine(b"ok")) as (_, url), sdk(url) as client:
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True)  # type: ignore[arg-type]
    assert answer.choices[0].logprobs is not None and answer.choices[0].logprobs.content is not None
    entries = answer.choices[0].logprobs.content
    assert [(e.token, e.logprob, e.top_logprobs) for e in entries] == [
        ("o", -111 / 256, []),
        ("k", -107 / 256, []),
    ]


async def test_token_ids_are_told_if_asked_for() -> None:
    asked = {"return_token_ids": True, "return_tokens_as_token_ids": True, "logprobs": True}
    async with serving(FakeEngine("ü".encode())) as (_, url), httpx2.AsyncClient() as client:
        body = {"model": "tiny", "messages": MESSAGES, **asked}
        answer = (await client.post(f"{url}/v1/chat/completions", json=body)).json()
        *chunks, _ = await events(url, **asked)
    assert bytes(answer["prompt_token_ids"]) == PROMPT
    (choice,) = answer["choices"]
    assert choice["token_ids"] == [0xC3, 0xBC]
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["token_id:195", "token_id:188"]
    first, *others = map(json.loads, chunks)
    assert bytes(first["prompt_token_ids"]) == PROMPT and first["choices"][0]["delta"]["role"] == "assistant"
    told = [token_id for chunk in others for token_id in chunk["choices"][0].get("token_ids", [])]
    assert told == [0xC3, 0xBC] and all("prompt_token_ids" not in chunk for chunk in others)


async def test_sampling_reaches_the_engine() -> None:
    engine = FakeEngine()
    fields = {"top_k": 5, "min_p": 0.1, "ignore_eos": True, "min_tokens": 2}
    async with serving(engine) as (_, url), sdk(url) as client:
        await client.chat.completions.create(
            model="tiny",
            messages=MESSAGES,  # type: ignore[arg-type]
            temperature=0.5,
            top_p=0.9,
            seed=11,
            max_completion_tokens=7,
            extra_body=fields,
        )
    (submission,) = engine.submitted
    sampling = submission.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.5, 0.9, 7)
    assert (sampling.top_k, sampling.min_p, sampling.ignore_eos, sampling.min_tokens) == (5, 0.1, True, 2)
    assert submission.seed == 11


async def test_without_a_seed_each_request_gets_its_own_and_the_rest_of_the_context() -> None:
    engine = FakeEngine()
    async with serving(engine) as (_, url), sdk(url) as client:
        for _ in range(3):
            await client.chat.completions.create(model="tiny", messages=MESSAGES)  # type: ignore[arg-type]
    assert len({submission.seed for submission in engine.submitted}) == 3
    assert all(0 <= submission.seed < 2**63 for submission in engine.submitted)
    assert engine.submitted[0].sampling.max_tokens == MAX_MODEL_LEN - len(PROMPT)


async def test_a_full_queue_says_when_to_come_back() -> None:
    engine = FakeEngine()
    engine.is_full = True
    async with serving(engine) as (replica, url), sdk(url) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="tiny", messages=MESSAGES)  # type: ignore[arg-type]
        rendered = replica.metrics.render().decode()
    response = caught.value.response
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert response.json()["error"]["type"] == "overloaded_error"
    assert (
        'admission_rejections_total{engine="0",model_name="tiny",reason="max_num_queued_reqs"} 1.0'
        in rendered
    )


async def ask(engine: FakeEngine, **fields: object) -> httpx2.Response:
    async with asgi_client(fake_replica(engine)) as client:
        return await client.post(
            "/v1/chat/completions", json={"model": "tiny", "messages": MESSAGES, **fields}
        )


async def test_an_answer_goes_on_with_the_final_message() -> None:
    engine = FakeEngine()
    begun = [*MESSAGES, {"role": "assistant", "content": "So "}]
    await ask(engine, messages=begun, continue_final_message=True, priority=3)
    await ask(engine, add_generation_prompt=False)
    assert bytes(engine.submitted[0].token_ids) == PROMPT + b"assistant:So "
    assert bytes(engine.submitted[1].token_ids) == PROMPT + b"-"
    assert [submitted.priority for submitted in engine.submitted] == [3, 0]


async def test_an_answer_may_begin_with_the_message_it_goes_on_with() -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "So "}]
    fields = {"echo": True, "continue_final_message": True}
    whole = (await ask(FakeEngine(), messages=begun, **fields)).json()
    alone = (await ask(FakeEngine(), messages=begun, continue_final_message=True)).json()
    streamed = (await ask(FakeEngine(), messages=begun, stream=True, **fields)).text
    other = (await ask(FakeEngine(), echo=True)).json()
    said = [answer["choices"][0]["message"]["content"] for answer in (whole, alone, other)]
    assert said == [f"So {said[1]}", said[1], said[1]]
    chunks = [json.loads(event.removeprefix("data: ")) for event in streamed.split("\n\n")[:-2]]
    deltas = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert deltas[0] == "So " and "".join(deltas) == said[0]


async def test_the_text_of_the_prompt_is_told_when_asked_for() -> None:
    whole = (await ask(FakeEngine(), return_prompt_text=True)).json()
    assert whole["prompt_text"].encode() == PROMPT
    cut = (
        await ask(FakeEngine(), return_prompt_text=True, truncate_prompt_tokens=4, truncation_side="right")
    ).json()
    assert cut["prompt_text"].encode() == PROMPT[:4]
    assert "prompt_text" not in (await ask(FakeEngine())).json()


async def test_what_a_template_is_not_asked() -> None:
    for fields, param in (
        ({"continue_final_message": True}, "continue_final_message"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
        ({"documents": [{"text": "a"}]}, "documents"),
        ({"documents": [{"text": 1}]}, "documents[0][...]"),
        ({"priority": -1}, "priority"),
        ({"priority": 2**31}, "priority"),
    ):
        response = await ask(FakeEngine(), **fields)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
