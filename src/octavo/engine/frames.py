"""How messages cross the unix socket: a little-endian uint32 length, then so many bytes of msgpack.

Both ends use it. A frame that is too long or does not decode is a fault of the peer: FrameError.
"""

import pathlib
import struct
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from octavo.config import EngineConfig, Environment

MAX_FRAME_BYTES = 64 << 20
_LENGTH = struct.Struct("<I")

Message = TypeVar("Message")


class FrameError(Exception):
    """The peer sent bytes that are no frame of this protocol."""


class Start(msgspec.Struct, tag=True, array_like=True):
    """supervisor -> engine, the first frame: what to load."""

    config: EngineConfig
    environment: Environment


def encode_frame(message: msgspec.Struct) -> bytearray:
    """The frame of one message, ready to be written. Raises FrameError when it is too long to be read."""
    frame = bytearray(_LENGTH.size)
    msgspec.msgpack.Encoder(enc_hook=_encode_path).encode_into(message, frame, _LENGTH.size)
    size = len(frame) - _LENGTH.size
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"a message {type(message).__name__} of {size} bytes; allowed: {MAX_FRAME_BYTES}")
    _LENGTH.pack_into(frame, 0, size)
    return frame


def _encode_path(value: Any) -> str:
    if isinstance(value, pathlib.Path):
        return str(value)
    raise NotImplementedError(f"{type(value)} does not cross the socket")


class FrameDecoder(Generic[Message]):
    """Cuts a byte stream into messages. Holds at most one unfinished frame."""

    def __init__(self, message_type: Any) -> None:
        """message_type: a msgspec Struct, or a union of them; anything else on the wire is a FrameError."""
        self._decoder = msgspec.msgpack.Decoder(message_type, dec_hook=_decode_path)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that data completes, one by one: a bad frame raises after those before it."""
        self._buffer += data
        start = 0
        try:
            while (end := self._frame_end(start)) is not None:
                payload = memoryview(self._buffer)[start + _LENGTH.size : end]
                start = end
                yield self._decode(payload)
        finally:
            del self._buffer[:start]

    def _frame_end(self, start: int) -> int | None:
        if len(self._buffer) < start + _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer, start)
        if size > MAX_FRAME_BYTES:
            raise FrameError(f"a frame of {size} bytes was announced; allowed: {MAX_FRAME_BYTES}")
        end = start + _LENGTH.size + int(size)
        return end if len(self._buffer) >= end else None

    def _decode(self, payload: memoryview) -> Message:
        try:
            message: Message = self._decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FrameError(f"a frame of {len(payload)} bytes does not decode: {error}") from error
        finally:
            payload.release()
        return message


def _decode_path(expected: type, value: Any) -> Any:
    if expected is pathlib.Path:
        return pathlib.Path(value)
    raise NotImplementedError(f"{expected} does not cross the socket")
