"""A prompt in front of its answer: its text, and where its tokens begin in it."""

import itertools
from typing import Any, cast

import pytest

from octavo.server.echo import PromptEcho
from octavo.text.tokenizer import Tokenizer
from tests.fakes import END_ID, ByteTokenizer
from tests.text import tiny_sentencepiece
from tests.text.tiny_text import START, tokenizer

BYTES = cast(Tokenizer, ByteTokenizer())


def test_the_text_is_the_clients_or_spelled() -> None:
    assert PromptEcho.of("ab", [97, 98], BYTES) == PromptEcho("ab", [97, 98], [0, 1])
    assert PromptEcho.of(None, [97, END_ID, 98], BYTES) == PromptEcho("a<end>b", [97, END_ID, 98], [0, 1, 6])
    assert PromptEcho.of(None, list("ü".encode()), BYTES).offsets == [0, 0]
    assert PromptEcho.of(None, [0xC3], BYTES) == PromptEcho("\ufffd", [0xC3], [0])


def test_what_the_tokenizer_put_in_front_is_not_counted() -> None:
    begun = tokenizer(bos_id=START, adds_bos=True)
    echo = PromptEcho.of("hello hello", begun.encode_prompt("hello hello"), begun)
    assert (echo.text, echo.offsets) == ("hello hello", [0, 0, 5])


@pytest.mark.parametrize("adds_space_prefix", (False, True))
def test_each_token_begins_where_its_text_does(adds_space_prefix: bool) -> None:
    made: Any = tiny_sentencepiece.tokenizer(adds_space_prefix=adds_space_prefix)
    echo = PromptEcho.of("hello hello", made.encode_prompt("hello hello"), made)
    parts = [*echo.offsets, len(echo.text)]
    spelled = "".join(echo.text[start:end] for start, end in itertools.pairwise(parts))
    assert spelled == "hello hello" and sorted(echo.offsets) == echo.offsets
