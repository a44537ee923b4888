"""Many streams on one connection from a replica to a router: the frames of GET /octavo/v1/channel.

A frame is a stream's number, a length, and so many bytes of the stream's body. One without bytes says that
whatever else the stream has comes on its own connection; number 0 is no stream's, but a sign of life. A
stream has CHANNEL_BYTES there, and as many more as its client has got: the router says so (POST, Renewal). A
replica that sends more is broken.
"""

import re
import struct
from typing import Annotated

import msgspec

SIGN_OF_LIFE = 0  # in place of a stream's number
CHANNEL_BYTES = 1 << 18  # of one stream under way: what a client that reads slowly can make a router hold
_HEAD = struct.Struct("<QI")
_TICKET = re.compile(r"([0-9a-f]{32}) ([1-9]\d{0,18})")


class FrameError(Exception):
    """What came by a channel is not made as this file says."""


class Ticket(msgspec.Struct, frozen=True):
    """A request's header: its stream may come by that channel, under that number."""

    channel: str  # 32 hexadecimal digits
    number: int  # from 1 on: no other stream's of that channel

    @property
    def header(self) -> bytes:
        return f"{self.channel} {self.number}".encode()

    @classmethod
    def parse(cls, header: str) -> "Ticket | None":
        found = _TICKET.fullmatch(header)
        return None if found is None else cls(found[1], int(found[2]))


class Renewal(msgspec.Struct, frozen=True):
    """So many bytes more may come by the channel, of each of these streams."""

    channel: str
    num_bytes: dict[int, Annotated[int, msgspec.Meta(ge=1, le=CHANNEL_BYTES)]]


def frame(number: int, data: bytes = b"") -> bytes:
    """data: CHANNEL_BYTES at most."""
    return _HEAD.pack(number, len(data)) + data


class FrameReader:
    """A channel's bytes in, in whatever pieces; whole frames out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(stream's number, bytes) of each frame. Raises FrameError."""
        data = self._rest + data
        frames = []
        position, last_head = 0, len(data) - _HEAD.size
        while position <= last_head:
            number, length = _HEAD.unpack_from(data, position)
            if length > CHANNEL_BYTES:
                raise FrameError(f"a frame of {length} bytes is too long")
            begin = position + _HEAD.size
            end = begin + length
            if end > len(data):
                break
            frames.append((number, data[begin:end]))
            position = end
        self._rest = data[position:]
        return frames
