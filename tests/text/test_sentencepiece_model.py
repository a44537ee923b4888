import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.text.sentencepiece_model import SentencePieceModel
from tests.text.sentencepiece_bytes import message, model_bytes, varint

PIECES = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("▁t", -0.5, 1), ("<think>", 0.0, 4)]


def test_tokens_scores_and_types_are_read() -> None:
    model = SentencePieceModel.parse(model_bytes(PIECES, adds_space_prefix=False))
    assert model.tokens == ("<unk>", "<s>", "▁t", "<think>")
    assert model.scores == (0.0, 0.0, -0.5, 0.0)
    assert model.types == (2, 3, 1, 4)
    assert not model.adds_space_prefix


def test_what_a_file_leaves_out_has_the_formats_defaults() -> None:
    bare = message((1, message((1, b"a"))), (2, message((3, 2))), (3, message((4, 0))), (99, 7))
    model = SentencePieceModel.parse(bare)
    assert (model.tokens, model.scores, model.types) == (("a",), (0.0,), (1,))
    assert model.adds_space_prefix


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no SentencePiece model, or one without tokens"),
        (model_bytes(PIECES, model_type=1), "other than BPE; tokenizer.json is needed"),
        (model_bytes(PIECES, character_map=b"nmt"), "changes text"),
        (model_bytes(PIECES, removes_extra_spaces=True), "changes text"),
        (model_bytes(PIECES)[:-1], "truncated"),
        (b"\x0a\xff", "truncated"),
        (b"\xff" * 12, "a number at byte 10"),
        (b"\x0b", "wire type 3"),
        (b"IQ== 0\nIg== 1\n", "wire type|truncated|without tokens"),  # a tiktoken file of the same name
        (message((1, 5)), "a number stands where"),
        (message((1, message((1, b"a"), (2, 1)))), "score or type has another form"),
        (message((1, message((1, b"\xff")))), "utf-8"),
    ],
)
def test_what_is_no_such_file_is_named(data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SentencePieceModel.parse(data)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_any_bytes_are_read_or_refused(noise: bytes, position: int) -> None:
    whole = model_bytes(PIECES)
    for data in (noise, whole[:position] + noise + whole[position + len(noise) :]):
        try:
            SentencePieceModel.parse(data)
        except ValueError:
            continue


def test_numbers_are_little_endian_groups_of_seven_bits() -> None:
    assert varint(300) == b"\xac\x02"
    doubles = message((7, b"x")) + bytes([9 << 3 | 1]) + struct.pack("<d", 1.0)  # fields nobody asked for
    assert SentencePieceModel.parse(doubles + model_bytes(PIECES)).tokens[1] == "<s>"
