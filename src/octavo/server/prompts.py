"""What a client sent as prompt or messages, as token ids within the model's context.

Long texts are encoded in a thread, so that they hold up nobody's stream.
"""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import SamplingParams
from octavo.server.bad_words import spellings
from octavo.server.echo import PromptEcho
from octavo.text.chat_template import ChatTemplate, Message, strings_in
from octavo.text.tokenizer import Tokenizer

MAX_CHARACTERS_PER_TOKEN = 64  # a longer text cannot fit the context and does not reach the tokenizer
MAX_PROMPTS = 128  # in one completions request
MAX_TOTAL_TOKENS = 1 << 21  # of all prompts of a request, which are held until it is answered
_INLINE_CHARACTERS = 2048  # a shorter text is encoded at once: a thread would cost more
_TAIL_TOKENS = 16  # of a prompt, among them the tag that opens the reasoning, if the template writes it

Prompts = str | list[str | int | list[int]]
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What a chat template is given; variables beside what every template gets.

    add_generation_prompt: the head of the answer behind the messages; continue_final_message: the answer goes
    on with the last of them.
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    add_generation_prompt: bool = True
    continue_final_message: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PromptEncoder:
    """Raises InvalidRequestError: an empty prompt, one that exceeds the context, a token id out of range."""

    tokenizer: Tokenizer
    chat_template: ChatTemplate
    vocab_size: int
    max_model_len: int
    _: dataclasses.KW_ONLY
    max_total_tokens: int = MAX_TOTAL_TOKENS
    max_prompts: int = MAX_PROMPTS  # and choices; less where the server never holds as many requests at once

    async def encode_chat(self, chat: ChatPrompt, *, kept: slice | None = None) -> list[int]:
        return self._checked(await self.tokenize_chat(chat), "messages", kept)

    async def tokenize_chat(self, chat: ChatPrompt) -> list[int]:
        """What encode_chat gives, also where it leaves no room for an answer."""
        num_characters = sum(map(len, strings_in((chat.messages, chat.tools, chat.variables))))
        self._check_characters(num_characters, "messages")
        template = self.chat_template
        return await _run(
            lambda: template.encode_chat(
                chat.messages,
                add_generation_prompt=chat.add_generation_prompt,
                continue_final_message=chat.continue_final_message,
                tools=chat.tools,
                variables=chat.variables,
            ),
            num_characters,
        )

    async def encode_prompts(
        self,
        prompt: Prompts,
        *,
        suffix: str | None = None,
        kept: slice | None = None,
        param: str = "prompt",
        limit: int | None = None,
    ) -> list[list[int]]:
        """A text, token ids, or several of either: these are several prompts, answered as so many choices.

        Special tokens written in a text count as such: the client does its own templating here. suffix: what
        follows the answer; kept: which tokens of each prompt are used; param: the field; limit: of prompts,
        if not max_prompts.
        """
        one_by_one = _each(prompt, param)
        allowed = self.max_prompts if limit is None else limit
        if len(one_by_one) > allowed:
            raise InvalidRequestError(
                f"{param} holds {len(one_by_one)} prompts; allowed: {allowed}.", param=param
            )
        encoded, total = [], 0
        for name, item in one_by_one.items():
            encoded.append(await self._encode_prompt(item, name, suffix, kept))
            total += len(encoded[-1])
            self.check_total(total, param)
            await asyncio.sleep(0)  # many short texts hold up nobody's stream
        return encoded

    def check_total(self, num_tokens: int, param: str) -> None:
        """num_tokens: of the prompts of one request so far. Raises InvalidRequestError."""
        limit = max(self.max_total_tokens, self.max_model_len)
        if num_tokens > limit:
            raise InvalidRequestError(
                f"{param} holds more than {limit} tokens together, the most of one request.",
                param=param,
                code="context_length_exceeded",
            )

    async def echoes(
        self, prompt: Prompts, encoded: Sequence[list[int]], kept: slice | None
    ) -> list[PromptEcho]:
        """How prompts, encoded with encode_prompts(), are repeated."""
        found = []
        for item, token_ids in zip(_each(prompt, "prompt").values(), encoded, strict=True):
            text = item if isinstance(item, str) and kept is None else None
            echo = functools.partial(PromptEcho.of, text, token_ids, self.tokenizer)
            found.append(await _run(echo, len(token_ids)))
        return found

    async def _encode_prompt(
        self, prompt: str | list[int], param: str, suffix: str | None, kept: slice | None
    ) -> list[int]:
        if isinstance(prompt, str):
            if not prompt and not suffix:
                raise _empty(param)
            self._check_characters(len(prompt) + len(suffix or ""), param)
            prompt = await self._encode_text(prompt, suffix)
        elif suffix:
            raise InvalidRequestError("suffix needs a prompt of text, not of token ids.", param="suffix")
        return self._checked(prompt, param, kept)

    async def _encode_text(self, text: str, suffix: str | None) -> list[int]:
        tokenizer = self.tokenizer
        if suffix:
            return await _run(lambda: tokenizer.encode_infill(text, suffix), len(text) + len(suffix))
        return await _run(lambda: tokenizer.encode_prompt(text), len(text))

    def kept(
        self, truncate_prompt_tokens: int | None, max_tokens: int | None, side: str | None = None
    ) -> slice | None:
        """Which tokens of a prompt are used; None: all. -1: as many as max_tokens leave room for. side: at
        which prompts are cut, left (the last tokens are used) or right."""
        if truncate_prompt_tokens is None:
            return None
        count = truncate_prompt_tokens
        if count == -1:
            count = max(1, self.max_model_len - (max_tokens or 1))
        return slice(count) if side == "right" else slice(-count, None)

    def without(self, bad_words: Sequence[str] | None, sampling: SamplingParams) -> SamplingParams:
        """sampling without these words. Raises InvalidRequestError for one that is too long."""
        if not bad_words:
            return sampling
        return dataclasses.replace(sampling, bad_words_token_ids=spellings(bad_words, self.tokenizer))

    def check_choices(self, n: int, num_prompts: int, param: str) -> None:
        """n choices for each prompt; param: the field that says so."""
        allowed = self.max_prompts // num_prompts
        if not 1 <= n <= allowed:
            prompts = "" if num_prompts == 1 else f" with {num_prompts} prompts"
            raise InvalidRequestError(f"{param} is {n}; allowed{prompts}: 1 to {allowed}.", param=param)

    async def tokenize(self, text: str, *, with_begin: bool) -> list[int]:
        """A prompt's tokens, however many; with_begin: the begin token in front, if the model wants one."""
        self._check_characters(len(text), "prompt")
        tokenizer = self.tokenizer
        if with_begin:
            return await _run(lambda: tokenizer.encode_prompt(text), len(text))
        return await _run(lambda: tokenizer.encode(text, allow_special=True), len(text))

    async def detokenize(self, token_ids: list[int]) -> str:
        """Control tokens spelled out."""
        self._check_range(token_ids, "tokens")
        decode = self.tokenizer.decode
        return await _run(lambda: decode(token_ids, skip_control=False), len(token_ids))

    @property
    def spelling(self) -> Sequence[bytes]:
        """By token id, the bytes of its text."""
        return self.tokenizer.vocabulary.token_bytes

    def tail(self, token_ids: list[int]) -> str:
        """The text that a prompt ends with, control tokens spelled out."""
        return self.tokenizer.decode(token_ids[-_TAIL_TOKENS:], skip_control=False)

    def spell(self, token_ids: list[int]) -> list[str]:
        """The tokens as the vocabulary has them."""
        tokens = self.tokenizer.vocabulary.tokens
        return [tokens[token_id] if token_id < len(tokens) else "" for token_id in token_ids]

    def _checked(self, token_ids: list[int], param: str, kept: slice | None = None) -> list[int]:
        if not token_ids:
            raise _empty(param)
        self._check_range(token_ids, param)
        if kept is not None:
            token_ids = token_ids[kept]
        if len(token_ids) >= self.max_model_len:
            raise self._too_long(f"{len(token_ids)} tokens", param)
        return token_ids

    def _check_range(self, token_ids: Sequence[int], param: str) -> None:
        for token_id in (min(token_ids, default=0), max(token_ids, default=0)):
            if not 0 <= token_id < self.vocab_size:
                raise InvalidRequestError(
                    f"{param} holds token id {token_id}; the model has 0 to {self.vocab_size - 1}.",
                    param=param,
                )

    def _check_characters(self, count: int, param: str) -> None:
        if count > MAX_CHARACTERS_PER_TOKEN * self.max_model_len:
            raise self._too_long(f"{count} characters", param)

    def _too_long(self, size: str, param: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"{param} is {size} long; the context holds {self.max_model_len} tokens, prompt and answer.",
            param=param,
            code="context_length_exceeded",
        )

    def fit(
        self, sampling: SamplingParams, num_prompt_tokens: int, default_max_tokens: int | None
    ) -> SamplingParams:
        """sampling with a max_tokens that fits the context. A client that asked for more is refused."""
        for field, token_ids in sampling.token_ids_by_field():
            self._check_range(token_ids, field)
        room = self.max_model_len - num_prompt_tokens
        if sampling.max_tokens is None:
            return dataclasses.replace(sampling, max_tokens=min(room, default_max_tokens or room))
        if sampling.max_tokens > room:
            raise InvalidRequestError(
                f"The prompt's {num_prompt_tokens} tokens and max_tokens, {sampling.max_tokens}, exceed the "
                f"context of {self.max_model_len} tokens; allowed beside this prompt: 1 to {room}.",
                param="max_tokens",
                code="context_length_exceeded",
            )
        return sampling


def _each(prompt: Prompts, param: str) -> dict[str, str | list[int]]:
    """The prompts of a request, by what they are called in an error."""
    if isinstance(prompt, str):
        return {param: prompt}
    if not prompt:
        raise InvalidRequestError(f"{param} is an empty list.", param=param)
    if all(isinstance(item, int) for item in prompt):
        return {param: [item for item in prompt if isinstance(item, int)]}
    items = [item for item in prompt if not isinstance(item, int)]
    if len(items) < len(prompt) or len({type(item) for item in items}) > 1:
        raise InvalidRequestError(
            f"{param} mixes texts, token ids and lists of them; a list holds one kind.", param=param
        )
    return {f"{param}[{index}]": item for index, item in enumerate(items)}


def _empty(param: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param} is empty; at least one token is needed.", param=param)


async def _run(encode: Callable[[], Value], num_characters: int) -> Value:
    return encode() if num_characters <= _INLINE_CHARACTERS else await asyncio.to_thread(encode)
