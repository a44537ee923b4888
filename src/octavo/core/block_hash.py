"""What a KV block holds, as 32 bytes: one definition for the engine, every cache tier and the router.

A block's identity is a chained SHA-256 over (parent, its 16 token ids). The chain starts from a root that
names everything else the bytes depend on: model and numerics (the fingerprint), adapter, and the tenant's
salt. Every field is tagged and length-prefixed, so that no two different inputs serialise alike.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence

import numpy as np

from octavo.core.step import Int32Array

BLOCK_SIZE = 16  # tokens

BlockHash = bytes  # of HASH_BYTES
HASH_BYTES = 32
SHORT_BYTES = 8  # of a hash: enough to tell blocks apart where a mistake costs only time


def root_hash(fingerprint: bytes, *, salt: str = "", adapter: str = "") -> BlockHash:
    """The parent of a sequence's first block. fingerprint covers model, numerics, tokenizer and KV format."""
    fields = ((b"fingerprint", fingerprint), (b"adapter", adapter.encode()), (b"salt", salt.encode()))
    return hashlib.sha256(b"".join(_tagged(tag, value) for tag, value in fields)).digest()


def _tagged(tag: bytes, value: bytes) -> bytes:
    return struct.pack("<II", len(tag), len(value)) + tag + value


def extend_hashes(hashes: list[BlockHash], root: BlockHash, token_ids: Sequence[int] | Int32Array) -> None:
    """Append to hashes the identities of the full blocks of token_ids that it does not cover yet."""
    first = len(hashes)
    num_full = len(token_ids) // BLOCK_SIZE
    if num_full <= first:
        return
    data = np.asarray(token_ids[first * BLOCK_SIZE : num_full * BLOCK_SIZE], dtype="<i4").tobytes()
    parent = hashes[-1] if hashes else root
    stride = 4 * BLOCK_SIZE
    for offset in range(0, len(data), stride):
        parent = hashlib.sha256(parent + data[offset : offset + stride]).digest()
        hashes.append(parent)


def short_hashes(hashes: Iterable[BlockHash]) -> bytes:
    """The beginning of each, one after the other."""
    return b"".join([block_hash[:SHORT_BYTES] for block_hash in hashes])


def split_short_hashes(joined: bytes) -> list[bytes]:
    return [joined[start : start + SHORT_BYTES] for start in range(0, len(joined), SHORT_BYTES)]
