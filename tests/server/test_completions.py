"""The completions API as OpenAI's own client sees it, over a real socket."""

import asyncio
import json
from typing import Any

import httpx2
import openai
import pytest

from octavo.core.request import FinishReason
from tests.fakes import MAX_MODEL_LEN, FakeEngine, send
from tests.server.serving import serving

pytestmark = pytest.mark.asyncio


def sdk(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


async def test_a_whole_answer() -> None:
    engine = FakeEngine(b"world")
    async with serving(engine) as (_, url), sdk(url) as client:
        answer = await client.completions.create(model="alias", prompt="hello ")
    assert (answer.object, answer.model, answer.choices[0].text) == ("text_completion", "alias", "world")
    assert answer.id.startswith("cmpl-")
    assert bytes(engine.submitted[0].token_ids) == b"hello "
    assert engine.submitted[0].sampling.max_tokens == 16


async def test_the_default_of_max_tokens_is_cut_to_the_context() -> None:
    engine = FakeEngine()
    async with serving(engine) as (_, url), sdk(url) as client:
        await client.completions.create(model="tiny", prompt="x" * (MAX_MODEL_LEN - 3))
    assert engine.submitted[0].sampling.max_tokens == 3


async def test_token_ids_are_taken_as_they_are() -> None:
    engine = FakeEngine()
    async with serving(engine) as (_, url), sdk(url) as client:
        await client.completions.create(model="tiny", prompt=[1, 2, 256])
    assert engine.submitted[0].token_ids == [1, 2, 256]


async def test_several_prompts_are_several_choices() -> None:
    engine = FakeEngine(b"yes")
    async with serving(engine) as (_, url), sdk(url) as client:
        answer = await client.completions.create(model="tiny", prompt=["a", "bc", "def"], seed=5)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "yes"), (1, "yes"), (2, "yes")]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 9)
    assert [(s.seed, s.branch) for s in engine.submitted] == [(5, 0), (5, 1), (5, 2)]


async def test_choices_of_a_prompt_share_it_and_it_counts_once() -> None:
    engine = FakeEngine(b"yes")
    async with serving(engine) as (replica, url), sdk(url) as client:
        answer = await client.completions.create(model="tiny", prompt=["a", "bc"], n=2, seed=5)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(i, "yes") for i in range(4)]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 12)
    logged = json.loads(replica.log.getvalue())
    assert (logged["prompt_tokens"], logged["output_tokens"]) == (3, 12)
    first, fork, second, second_fork = engine.submitted
    assert [s.branch for s in engine.submitted] == [0, 1, 2, 3]
    assert (first.fork_of, fork.fork_of) == (None, first.request_id)
    assert (second.fork_of, second_fork.fork_of) == (None, second.request_id)
    assert (fork.token_ids, second_fork.token_ids) == (first.token_ids, second.token_ids)


async def test_several_prompts_are_streamed_side_by_side() -> None:
    async with serving(FakeEngine(b"yes")) as (_, url), httpx2.AsyncClient() as client:
        body = {
            "model": "tiny",
            "prompt": ["a", "b"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        response = await client.post(f"{url}/v1/completions", json=body)
    *chunks, usage, done = [event.removeprefix("data: ") for event in response.text[:-2].split("\n\n")]
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["text"] for choice in mine) == "yes"
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == ["stop"]
    assert json.loads(usage)["usage"]["total_tokens"] == 8
    assert done == "[DONE]"


async def test_if_one_prompt_finds_the_queue_full_none_runs() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), sdk(url) as client:
        accept = engine.submit

        def submit(*arguments: object, **options: object) -> object:
            engine.is_full = len(engine.streams) == 2
            return accept(*arguments, **options)  # type: ignore[arg-type]

        engine.submit = submit  # type: ignore[assignment, method-assign]
        with pytest.raises(openai.InternalServerError):
            await client.completions.create(model="tiny", prompt=["a", "b", "c"])
    assert len(engine.aborted) == 2


async def test_logprobs_of_a_stream_are_those_of_the_whole_answer() -> None:
    async with serving(FakeEngine("Grü END".encode())) as (_, url), sdk(url) as client:
        answer = await client.completions.create(model="tiny", prompt="a", logprobs=1, stop="END")
        stream = await client.completions.create(
            model="tiny", prompt="a", logprobs=1, stop="END", stream=True
        )
        told = [chunk.choices[0].logprobs async for chunk in stream if chunk.choices[0].logprobs]
    whole = answer.choices[0].logprobs
    assert whole is not None
    assert whole.tokens == ["G", "r", "bytes:\\xc3", "bytes:\\xbc", " ", "E", "N", "D"]
    assert whole.token_logprobs == [-byte / 256 for byte in "Grü END".encode()]
    assert whole.top_logprobs is not None and whole.top_logprobs[0] == {"G": -71 / 256, "H": -72 / 256}
    assert whole.text_offset == [0, 1, 2, 2, 3, 4, 4, 4]
    for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [entry for part in told for entry in getattr(part, field)] == getattr(whole, field)


async def test_the_stop_string_is_part_of_the_answer_if_asked_for() -> None:
    body = {
        "model": "tiny",
        "prompt": "a",
        "stop": ["END"],
        "logprobs": 0,
        "include_stop_str_in_output": True,
    }
    async with serving(FakeEngine(b"Hi END and more")) as (_, url), httpx2.AsyncClient() as client:
        answer = (await client.post(f"{url}/v1/completions", json=body)).json()
        streamed = await client.post(f"{url}/v1/completions", json={**body, "stream": True})
    chunks = [json.loads(event[6:]) for event in streamed.text.split("\n\n") if event.startswith("data: {")]
    (choice,) = answer["choices"]
    assert choice["text"] == "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Hi END"
    assert (choice["finish_reason"], answer["usage"]["completion_tokens"]) == ("stop", 6)
    assert choice["logprobs"]["text_offset"] == list(range(6))


async def test_token_ids_are_told_if_asked_for() -> None:
    body = {"model": "tiny", "prompt": ["a", "bc"], "n": 2, "return_token_ids": True}
    async with serving(FakeEngine(b"xy")) as (_, url), httpx2.AsyncClient() as client:
        answer = (await client.post(f"{url}/v1/completions", json=body)).json()
        streamed = await client.post(f"{url}/v1/completions", json={**body, "stream": True})
    assert [bytes(choice["prompt_token_ids"]) for choice in answer["choices"]] == [b"a", b"a", b"bc", b"bc"]
    assert [bytes(choice["token_ids"]) for choice in answer["choices"]] == [b"xy"] * 4
    chunks = [json.loads(event[6:]) for event in streamed.text.split("\n\n") if event.startswith("data: {")]
    for index in range(4):
        first, *others = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert bytes(first["prompt_token_ids"]) == (b"a", b"bc")[index // 2]
        assert bytes(i for choice in others for i in choice.get("token_ids", [])) == b"xy"


@pytest.mark.parametrize("logprobs", (-1, 21))
async def test_alternatives_have_a_limit(logprobs: int) -> None:
    async with serving(FakeEngine()) as (_, url), sdk(url) as client:
        await client.completions.create(model="tiny", prompt="a", logprobs=20)
        with pytest.raises(openai.BadRequestError, match=r"logprobs: expected an integer (>= 0|<= 20)"):
            await client.completions.create(model="tiny", prompt="a", logprobs=logprobs)


async def test_lists_of_token_ids_are_several_prompts() -> None:
    engine = FakeEngine()
    fields = {"truncate_prompt_tokens": 2, "bad_words": ["no"]}
    async with serving(engine) as (_, url), sdk(url) as client:
        await client.completions.create(model="tiny", prompt=[[1, 2, 256], [3]], extra_body=fields)
        await client.completions.create(model="tiny", prompt="a", suffix="b")
    assert [submitted.token_ids for submitted in engine.submitted] == [[2, 256], [3], [0, 97, 1, 98, 2]]
    assert engine.submitted[0].sampling.bad_words_token_ids == (tuple(b"no"),)


async def test_a_prompt_is_scored_without_an_answer() -> None:
    """As evaluation harnesses ask for it."""
    fields = {"prompt": [[97, 98, 99], [100]], "echo": True, "logprobs": 1, "max_tokens": 0}
    async with serving(FakeEngine()) as (_, url), sdk(url) as client:
        answer = await client.completions.create(model="tiny", **fields)  # type: ignore[call-overload]
    first, second = answer.choices
    assert (first.text, first.finish_reason, second.text) == ("abc", "length", "d")
    assert first.logprobs.token_logprobs == [None, -98 / 256, -99 / 256]
    assert first.logprobs.top_logprobs[1] == {"b": -98 / 256, "c": -99 / 256}
    assert (first.logprobs.tokens, first.logprobs.text_offset) == (["a", "b", "c"], [0, 1, 2])
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 0)


@pytest.mark.parametrize("n", (1, 2))
async def test_an_echo_stands_in_front_of_every_choice(n: int) -> None:
    engine = FakeEngine(b"xy")
    fields = {"model": "tiny", "prompt": "ab", "echo": True, "logprobs": 1, "n": n}
    async with serving(engine) as (_, url), sdk(url) as client:
        answer = await client.completions.create(**fields)  # type: ignore[call-overload]
        stream = await client.completions.create(**fields, stream=True)  # type: ignore[call-overload]
        told = [chunk.choices[0] async for chunk in stream]
    for choice in answer.choices:
        mine = [part for part in told if part.index == choice.index]
        assert choice.text == "".join(part.text for part in mine) == "abxy"
        assert choice.logprobs.text_offset == [0, 1, 2, 3]
        assert choice.logprobs.token_logprobs == [None, *(-byte / 256 for byte in b"bxy")]
        for field in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            parts = [entry for part in mine if part.logprobs for entry in getattr(part.logprobs, field)]
            assert parts == getattr(choice.logprobs, field)
    assert [submitted.sampling.prompt_logprobs for submitted in engine.submitted[:n]] == [1, None][:n]


def entry(token: int) -> dict[str, Any]:
    return {str(token): {"logprob": -token / 256, "rank": 2, "decoded_token": chr(token)}}


async def test_prompt_logprobs_are_a_field() -> None:
    body = {"model": "tiny", "prompt": "ab", "prompt_logprobs": 0}
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "b"}], "prompt_logprobs": 0}
    async with serving(FakeEngine()) as (_, url), httpx2.AsyncClient() as client:
        answer = (await client.post(f"{url}/v1/completions", json=body)).json()
        chatted = (await client.post(f"{url}/v1/chat/completions", json=chat)).json()
        streams = [
            (await client.post(f"{url}/v1/{path}", json={**asked, "stream": True})).text
            for path, asked in (("completions", body), ("chat/completions", chat))
        ]
    texts, chats = ([json.loads(line[6:]) for line in text.split("\n\n")[:-2]] for text in streams)
    assert texts[0]["choices"][0]["prompt_logprobs"] == [None, entry(98)]
    assert [chunk.get("prompt_logprobs") for chunk in chats][:2] == [chatted["prompt_logprobs"], None]
    assert answer["choices"][0]["prompt_logprobs"] == [None, entry(98)]
    assert answer["choices"][0]["text"] == "Hello"
    assert len(chatted["prompt_logprobs"]) == len(b"user:b\n")
    assert chatted["prompt_logprobs"][-2] == entry(98)


async def test_the_best_of_several_is_answered_and_all_are_counted() -> None:
    engine = FakeEngine(None)
    async with serving(engine) as (_, url), sdk(url) as client:
        asking = asyncio.create_task(
            client.completions.create(model="tiny", prompt="ab", n=2, best_of=3, seed=1)
        )
        while len(engine.streams) < 3:
            await asyncio.sleep(0)
        for stream, answer in zip(engine.streams, (b"zz", b"a", b"bbbb"), strict=True):
            send(stream, answer, FinishReason.STOP)
        answer = await asking
    assert [(choice.index, choice.text, choice.logprobs) for choice in answer.choices] == [
        (0, "a", None),
        (1, "bbbb", None),
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 7)
