"""The one connection by which an octavo replica's streams come: all that a step gave them at one wake-up.

upstream.py sends by what is to be answered there, channel_watch.py keeps it open. In the router's event loop.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Protocol

import msgspec

from octavo.core.channel import CHANNEL_BYTES, FrameError, FrameReader, Ticket


class Receiver(Protocol):
    """Of one stream."""

    def on_piece(self, data: bytes, now: float) -> bool:
        """Some of its body, now on the loop's clock; b"": whatever else it has comes on its own connection.
        Returns whether all of it that has come so far has been passed on, and more is wanted."""
        ...

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        ...


class Part(msgspec.Struct):
    """Of one stream. num_left: bytes that may come."""

    receiver: Receiver
    num_left: int


class Channel:
    def __init__(self, id: str, renew: Callable[[int, int], None] = lambda number, num_bytes: None) -> None:
        """renew: is told of which stream how many bytes more may come."""
        self.num_pieces = 0
        self._renew = renew
        self._now = asyncio.get_running_loop().time
        self._id = id
        self._reader = FrameReader()
        self._numbers = itertools.count(1)
        self._parts: dict[int, Part] = {}

    @property
    def num_streams(self) -> int:
        return len(self._parts)

    def open(self, receiver: Receiver) -> Ticket:
        """For a stream that is asked for now. It is to be closed."""
        number = next(self._numbers)
        self._parts[number] = Part(receiver, CHANNEL_BYTES)
        return Ticket(self._id, number)

    def close(self, ticket: Ticket) -> None:
        """What still comes of it is dropped. Idempotent."""
        self._parts.pop(ticket.number, None)

    def feed(self, data: bytes) -> bool:
        """Give everybody what has come. Returns True: there is always room, since a stream that its client
        does not read has only so much here (CHANNEL_BYTES). Raises FrameError, also for one that has more."""
        now = self._now()
        for number, piece in self._reader.feed(data):
            part = self._parts.get(number)
            if part is None:
                continue
            self.num_pieces += 1
            part.num_left -= len(piece)
            if part.num_left < 0:
                raise FrameError(f"stream {number} has {-part.num_left} bytes too many under way")
            if part.receiver.on_piece(piece, now) and part.num_left < CHANNEL_BYTES // 2:
                self._renew(number, CHANNEL_BYTES - part.num_left)
                part.num_left = CHANNEL_BYTES
        return True

    def fail(self, error: Exception) -> None:
        """It is broken, and with it all that was under way."""
        for part in list(self._parts.values()):
            part.receiver.fail(error)
        self._parts.clear()
