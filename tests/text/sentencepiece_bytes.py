"""Writes SentencePiece model files, byte by byte."""

import struct
from collections.abc import Iterable

BPE = 2


def varint(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups[-1] |= 0x80
        groups.append(number & 0x7F)
    return bytes(groups)


def message(*fields: tuple[int, int | float | bytes]) -> bytes:
    """A protocol-buffer message: field numbers and values."""
    data = b""
    for number, value in fields:
        if isinstance(value, float):
            data += varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            data += varint(number << 3 | 2) + varint(len(value)) + value
    return data


def model_bytes(
    pieces: Iterable[tuple[str, float, int]],
    *,
    model_type: int = BPE,
    character_map: bytes = b"",
    adds_space_prefix: bool = True,
    removes_extra_spaces: bool = False,
) -> bytes:
    """pieces: token, score, type."""
    listed = [(1, message((1, token.encode()), (2, score), (3, kind))) for token, score, kind in pieces]
    rules = message((2, character_map), (3, int(adds_space_prefix)), (4, int(removes_extra_spaces)))
    return message(*listed, (2, message((3, model_type))), (3, rules))
