"""SentencePiece's own file, tokenizer.model: tokens, scores and types out of a protocol-buffer message.

Format: sentencepiece_model.proto of the SentencePiece project, of which this reads what BPE needs.
"""

import dataclasses
import struct
from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_NORMAL_TYPE, _BPE = 1, 2

# Field numbers. ModelProto:
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3  # ModelProto.SentencePiece
_MODEL_TYPE = 3  # TrainerSpec
_CHARACTER_MAP, _ADD_PREFIX, _REMOVE_EXTRA_SPACES = 2, 3, 4  # NormalizerSpec

Value = int | bytes


@dataclasses.dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """types are SentencePiece's numbers, which GGUF files share: 2 unknown, 3 control, 4 user-defined."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    adds_space_prefix: bool

    @classmethod
    def parse(cls, data: bytes) -> "SentencePieceModel":
        """Raises ValueError: not such a file, or one whose text needs what octavo does not do."""
        pieces, trainer, normalizer = [], b"", b""
        for number, value in _fields(data):
            if number == _PIECES:
                pieces.append(_piece(_bytes(value)))
            elif number == _TRAINER:
                trainer = _bytes(value)
            elif number == _NORMALIZER:
                normalizer = _bytes(value)
        if not pieces:
            raise ValueError("it is no SentencePiece model, or one without tokens; tokenizer.json is needed.")
        if dict(_fields(trainer)).get(_MODEL_TYPE) != _BPE:
            raise ValueError("it is a SentencePiece model other than BPE; tokenizer.json is needed.")
        rules = dict(_fields(normalizer))
        if rules.get(_CHARACTER_MAP) or rules.get(_REMOVE_EXTRA_SPACES, 1):
            raise ValueError("it changes text before it is cut into tokens; tokenizer.json is needed.")
        tokens, scores, types = zip(*pieces, strict=True)
        return cls(tokens, scores, types, bool(rules.get(_ADD_PREFIX, 1)))


def _piece(data: bytes) -> tuple[str, float, int]:
    found = dict(_fields(data))
    score = found.get(_SCORE, b"\0\0\0\0")
    token_type = found.get(_TYPE, _NORMAL_TYPE)
    if not isinstance(score, bytes) or len(score) != 4 or not isinstance(token_type, int):
        raise ValueError("it is no SentencePiece model: a token's score or type has another form.")
    return _bytes(found.get(_PIECE, b"")).decode(), struct.unpack("<f", score)[0], token_type


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("it is no SentencePiece model: a number stands where a message is expected.")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Field numbers and values of a message: numbers as they are, everything else as bytes."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire_type, value = key & 7, 0
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"it is no SentencePiece model: wire type {wire_type} at byte {position}.")
        if size > len(data) - position:
            raise ValueError(f"it is truncated, or no SentencePiece model: {size} bytes at byte {position}.")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number, and where the next thing begins."""
    value = 0
    for shift in range(0, 70, 7):
        if position == len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"it is truncated, or no SentencePiece model: a number at byte {position}.")
