"""Prompts become token ids that fit the context; answers get what is left of it."""

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.prompts import MAX_CHARACTERS_PER_TOKEN, MAX_PROMPTS, ChatPrompt, PromptEncoder
from tests.fakes import ByteChatTemplate, ByteTokenizer

LIMIT = 100


def encoder(tokenizer: Any = None) -> PromptEncoder:
    template = cast(Any, ByteChatTemplate())
    return PromptEncoder(tokenizer or ByteTokenizer(), template, vocab_size=257, max_model_len=LIMIT)


@pytest.mark.asyncio
async def test_each_kind_of_prompt() -> None:
    prompts = encoder()
    assert await prompts.encode_prompts("ab") == [[97, 98]]
    assert await prompts.encode_prompts([0, 256]) == [[0, 256]]
    assert await prompts.encode_prompts(["a", "bc"]) == [[97], [98, 99]]
    assert await prompts.encode_prompts([[0, 256], [1]]) == [[0, 256], [1]]
    chat = ChatPrompt([{"role": "user", "content": "a"}])
    assert await prompts.encode_chat(chat) == list(b"user:a\n")


@pytest.mark.asyncio
async def test_a_prompt_leaves_room_for_a_token() -> None:
    prompts = encoder()
    assert await prompts.encode_prompts([1] * (LIMIT - 1)) == [[1] * (LIMIT - 1)]
    with pytest.raises(InvalidRequestError) as caught:
        await prompts.encode_prompts([1] * LIMIT)
    assert (caught.value.param, caught.value.code) == ("prompt", "context_length_exceeded")


@pytest.mark.asyncio
async def test_the_number_of_prompts_is_bounded() -> None:
    assert len(await encoder().encode_prompts(["a"] * MAX_PROMPTS)) == MAX_PROMPTS
    small = dataclasses.replace(encoder(), max_prompts=4)
    assert len(await small.encode_prompts(["a"] * 4)) == 4
    with pytest.raises(InvalidRequestError, match="holds 5 prompts; allowed: 4"):
        await small.encode_prompts(["a"] * 5)
    with pytest.raises(InvalidRequestError, match=f"allowed: {MAX_PROMPTS}"):
        await encoder().encode_prompts(["a"] * (MAX_PROMPTS + 1))


@pytest.mark.asyncio
async def test_the_tokens_of_all_prompts_are_bounded() -> None:
    small = dataclasses.replace(encoder(), max_total_tokens=3 * LIMIT)
    count = LIMIT - 1
    assert len(await small.encode_prompts(["a" * count] * 3 + ["bbb"])) == 4
    with pytest.raises(InvalidRequestError, match=f"more than {3 * LIMIT} tokens together") as refused:
        await small.encode_prompts(["a" * count] * 3 + ["bbbb"], param="input")
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")
    least = dataclasses.replace(encoder(), max_total_tokens=1)
    assert await least.encode_prompts("a" * count)  # one that fits the context is never too long


@pytest.mark.asyncio
async def test_a_text_that_cannot_fit_does_not_reach_the_tokenizer() -> None:
    class Tokenizer:
        num_calls = 0

        def encode_prompt(self, text: str) -> list[int]:
            self.num_calls += 1
            return [1]

    tokenizer = Tokenizer()
    prompts = encoder(tokenizer)
    assert await prompts.encode_prompts("x" * (LIMIT * MAX_CHARACTERS_PER_TOKEN)) == [[1]]
    with pytest.raises(InvalidRequestError, match="characters long"):
        await prompts.encode_prompts("x" * (LIMIT * MAX_CHARACTERS_PER_TOKEN + 1))
    assert tokenizer.num_calls == 1


@pytest.mark.asyncio
async def test_long_texts_are_encoded_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokenizer:
        def encode_prompt(self, text: str) -> list[int]:
            return [1]

    num_threads = 0

    async def to_thread(encode: Any) -> Any:
        nonlocal num_threads
        num_threads += 1
        return encode()

    monkeypatch.setattr("asyncio.to_thread", to_thread)
    prompts = encoder(Tokenizer())
    await prompts.encode_prompts("x" * 100)
    assert num_threads == 0
    await prompts.encode_prompts("x" * 3000)
    assert num_threads == 1


@pytest.mark.parametrize(
    ("asked", "default", "expected"),
    ((None, None, 60), (None, 16, 16), (None, 90, 60), (60, 16, 60), (1, None, 1)),
)
def test_max_tokens_is_what_fits(asked: int | None, default: int | None, expected: int) -> None:
    assert encoder().fit(SamplingParams(max_tokens=asked), 40, default).max_tokens == expected


def test_more_than_fits_is_refused_when_asked_for() -> None:
    with pytest.raises(
        InvalidRequestError,
        match="and max_tokens, 61, exceed the context of 100 tokens; allowed beside this prompt: 1 to 60",
    ) as caught:
        encoder().fit(SamplingParams(max_tokens=61), 40, 16)
    assert (caught.value.param, caught.value.code) == ("max_tokens", "context_length_exceeded")


@pytest.mark.asyncio
async def test_only_the_last_tokens_of_a_prompt_are_used() -> None:
    prompts = encoder()
    assert await prompts.encode_prompts("abc", kept=prompts.kept(2, None)) == [[98, 99]]
    assert await prompts.encode_prompts("abc", kept=prompts.kept(2, None, "right")) == [[97, 98]]
    assert await prompts.encode_prompts([[1, 2, 3], [4]], kept=prompts.kept(1, None, "left")) == [[3], [4]]
    assert await prompts.encode_chat(
        ChatPrompt([{"role": "user", "content": "a"}]), kept=slice(-2, None)
    ) == list(b"a\n")
    assert prompts.kept(None, 5) is None and prompts.kept(7, 5) == slice(-7, None)
    longest = prompts.kept(-1, None)
    assert await prompts.encode_prompts([1] * LIMIT, kept=longest) == [[1] * (LIMIT - 1)]
    assert prompts.kept(-1, 5, "right") == slice(LIMIT - 5)
    assert prompts.kept(-1, 10**6) == slice(-1, None)


@pytest.mark.asyncio
async def test_what_follows_the_answer_goes_between_the_models_own_tokens() -> None:
    prompts = encoder()
    assert await prompts.encode_prompts(["ab", ""], suffix="c") == [[0, 97, 98, 1, 99, 2], [0, 1, 99, 2]]
    assert await prompts.encode_prompts([5], suffix="") == [[5]]
    with pytest.raises(InvalidRequestError, match="suffix needs a prompt of text"):
        await prompts.encode_prompts([5], suffix="c")
    with pytest.raises(InvalidRequestError, match="context holds"):
        await prompts.encode_prompts("a", suffix="c" * MAX_CHARACTERS_PER_TOKEN * LIMIT)


def test_words_are_banned_as_tokens() -> None:
    sampling = SamplingParams(seed=1)
    assert encoder().without(None, sampling) is encoder().without([], sampling) is sampling
    assert encoder().without(["ab"], sampling) == dataclasses.replace(
        sampling, bad_words_token_ids=((97, 98),)
    )


@pytest.mark.asyncio
async def test_between_two_texts_others_have_their_turn() -> None:
    class Tokenizer(ByteTokenizer):
        num_calls = 0

        def encode_prompt(self, text: str) -> list[int]:
            self.num_calls += 1
            return super().encode_prompt(text)

    async def watch() -> None:
        while True:
            seen.add(tokenizer.num_calls)
            await asyncio.sleep(0)

    tokenizer, seen = Tokenizer(), set[int]()
    watching = asyncio.create_task(watch())
    await encoder(tokenizer).encode_prompts(["a"] * 50)
    watching.cancel()
    assert seen >= set(range(1, 50))
