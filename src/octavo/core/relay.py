"""What a router and a replica say to each other beside OpenAI's API, so that a stream outlives its replica.

The router gives a request its identity (id, time, seed) in a header. The replica writes a mark, an SSE
comment line with a JSON array, before each piece of the stream: which tokens it came of, and how many bytes
it has. The router takes the marks out. When the replica is lost it sends another one the request and the
tokens so far: what the client has received is a pure function of them, and the new replica sends what lies
beyond.
"""

import base64
import re
import secrets
import time
from typing import Annotated

import msgspec

from octavo.core.messages import TokenLogprobs

SECRET_HEADER = b"x-octavo-secret"
TENANT_HEADER = b"x-octavo-tenant"  # whose key the router was given
IDENTITY_HEADER = b"x-octavo-identity"
PREFIX_HEADER = b"x-octavo-prefix"
CHANNEL_HEADER = b"x-octavo-channel"  # core/channel.py
MODEL_PATH = "/octavo/v1/model"
EVENTS_PATH = "/octavo/v1/events"
CHANNEL_PATH = "/octavo/v1/channel"
RESUME_PATH = "/octavo/v1/resume"
KNOWN_ANSWER_PATH = "/octavo/v1/known-answer"  # as /v1/completions, for a router that tests the replica

SEED_BITS = 63
CHUNK_HASH_BYTES = 8
MAX_MARK_BYTES = 1 << 20  # of one line
_MARK = b":octavo "
_ERROR_MARK = b":octavo-error "
NumBytes = Annotated[int, msgspec.Meta(ge=0)]
_IDENTITY = re.compile(r"([0-9a-f]{32}) (\d{1,12}) (\d{1,19})")


class MarkError(Exception):
    """A relayed stream is not made as this file says."""


class Identity(msgspec.Struct, frozen=True):
    """What makes two runs of a request the same answer. seed: for a request that brings none."""

    id: str  # 32 hexadecimal digits
    created: int  # unix seconds
    seed: int

    @classmethod
    def new(cls, now: float | None = None) -> "Identity":
        bits = secrets.token_bytes(24)
        seed = int.from_bytes(bits[16:]) >> (64 - SEED_BITS)
        return cls(bits[:16].hex(), int(time.time() if now is None else now), seed)

    @property
    def header(self) -> bytes:
        return f"{self.id} {self.created} {self.seed}".encode()

    @classmethod
    def parse(cls, header: str) -> "Identity | None":
        found = _IDENTITY.fullmatch(header)
        return None if found is None else cls(found[1], int(found[2]), int(found[3]))


class ReplicaCard(msgspec.Struct, frozen=True):
    """GET /octavo/v1/model. Two replicas with the same card give the same answers."""

    fingerprint: str  # of weights, tokenizer, template and numerics
    max_model_len: int
    vocabulary: str = ""  # hash of the tokens: where it is the same, so is what token ids say

    def can_read(self, other: "ReplicaCard") -> bool:
        """The other's tokens; what it makes of them is another matter."""
        return bool(self.vocabulary) and self.vocabulary == other.vocabulary


class PromptPrefix(msgspec.Struct, frozen=True):
    """How a router tells prompts apart: hashes of their text, CHUNK_HASH_BYTES each, that a replica keeps as
    they are. num_bytes: of the whole prompt."""

    num_bytes: int
    chunks: bytes

    @property
    def header(self) -> bytes:
        return b"%d %s" % (self.num_bytes, base64.b64encode(self.chunks))

    @classmethod
    def parse(cls, header: str) -> "PromptPrefix | None":
        """None: there is none, or it is not made as it should be."""
        num_bytes, _, encoded = header.partition(" ")
        try:
            chunks = base64.b64decode(encoded, validate=True)
        except ValueError:
            return None
        is_whole = num_bytes.isascii() and num_bytes.isdecimal() and len(chunks) % CHUNK_HASH_BYTES == 0
        return cls(int(num_bytes[:12]), chunks) if is_whole and chunks else None


class KnownPrompt(msgspec.Struct, frozen=True):
    """The same prompt as a router cuts it and as a replica does. blocks: short_hashes, of its beginning;
    num_bytes: as many as they were made of."""

    num_bytes: int
    chunks: bytes
    blocks: bytes


class CacheEvent(msgspec.Struct):
    """A line of GET /octavo/v1/events: how the blocks in a replica's prefix cache have changed, how full its
    KV cache is, and of which blocks the prompts consist that it was asked.

    Blocks are short_hashes (core/block_hash.py). A line without anything is a sign of life.
    """

    number: int  # counts up from 0 in every answer, which begins with a reset
    is_reset: bool = False  # what was known before does not count; stored is all there is
    stored: bytes = b""
    removed: bytes = b""
    num_waiting: int = 0  # requests that the engine has not begun
    kv_usage: float = 0.0  # 0 to 1: blocks that running requests hold
    prompts: list[KnownPrompt] = msgspec.field(default_factory=list)


class ChoiceProgress(msgspec.Struct):
    """What a client has of one choice."""

    index: int
    token_ids: list[int] = msgspec.field(default_factory=list)
    num_characters: int = 0
    num_cached_tokens: int = 0  # of the prompt, at the first admission
    finish_reason: str | None = None
    held_logprobs: TokenLogprobs | None = None  # of the last tokens: those whose text is held back


class Resumption(msgspec.Struct):
    """POST /octavo/v1/resume."""

    path: str  # of the request
    card: ReplicaCard
    identity: Identity
    choices: list[ChoiceProgress]
    request: msgspec.Raw  # the client's own body
    is_inexact: bool = False  # another model may go on, if it has the same vocabulary


class Mark(msgspec.Struct, array_like=True):
    """What the num_bytes that follow add to one choice. num_characters: in all, after them.
    held_logprobs: of tokens so far that the client has not got, since their text is held back.
    """

    num_bytes: NumBytes
    index: int
    num_characters: int
    num_cached_tokens: int
    finish_reason: str | None
    token_ids: list[int]
    held_logprobs: TokenLogprobs | None = None

    def encode(self) -> bytes:
        return _MARK + msgspec.json.encode(self) + b"\n"


class ErrorMark(msgspec.Struct, array_like=True):
    """What follows says that the answer ends here. is_resumable: another replica can go on with it."""

    num_bytes: NumBytes
    is_resumable: bool

    def encode(self) -> bytes:
        return _ERROR_MARK + msgspec.json.encode(self) + b"\n"


class MarkReader:
    """A relayed stream's bytes in, in whatever pieces; marks with their whole payloads out."""

    __slots__ = ("_data", "_mark")

    def __init__(self) -> None:
        self._data = b""
        self._mark: Mark | ErrorMark | None = None

    def feed(self, data: bytes) -> list[tuple[Mark | ErrorMark, bytes]]:
        """Raises MarkError."""
        data = self._data + data
        found: list[tuple[Mark | ErrorMark, bytes]] = []
        position = 0
        while position < len(data):
            if self._mark is None:
                end = data.find(b"\n", position)
                if end < 0:
                    if len(data) - position > MAX_MARK_BYTES:
                        raise MarkError("a mark is too long")
                    break
                self._mark = _decode(data[position:end])
                position = end + 1
            end = position + self._mark.num_bytes
            if len(data) < end:
                break
            found.append((self._mark, data[position:end]))
            self._mark = None
            position = end
        self._data = data[position:]
        return found


_MARKS = msgspec.json.Decoder(Mark)
_ERROR_MARKS = msgspec.json.Decoder(ErrorMark)


def _decode(line: bytes) -> Mark | ErrorMark:
    try:
        if line.startswith(_MARK):
            return _MARKS.decode(line[len(_MARK) :])
        if line.startswith(_ERROR_MARK):
            return _ERROR_MARKS.decode(line[len(_ERROR_MARK) :])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    raise MarkError(f"{line[:80]!r} is not a mark")
