"""The one connection by which an octavo replica's streams come: all that a step gave them at one wake-up.

upstream.py sends by what is to be answered there, channel_watch.py keeps it open. In the router's event loop.
"""

import itertools
from typing import Protocol

from octavo.core.channel import FrameReader, Ticket


class Receiver(Protocol):
    """Of one stream."""

    def on_piece(self, data: bytes) -> None:
        """Some of its body; b"": whatever else it has comes on its own connection."""
        ...

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        ...


class Channel:
    def __init__(self, id: str) -> None:
        self.num_pieces = 0
        self._id = id
        self._reader = FrameReader()
        self._numbers = itertools.count(1)
        self._receivers: dict[int, Receiver] = {}

    @property
    def num_streams(self) -> int:
        return len(self._receivers)

    def open(self, receiver: Receiver) -> Ticket:
        """For a stream that is asked for now. It is to be closed."""
        number = next(self._numbers)
        self._receivers[number] = receiver
        return Ticket(self._id, number)

    def close(self, ticket: Ticket) -> None:
        """What still comes of it is dropped. Idempotent."""
        self._receivers.pop(ticket.number, None)

    def feed(self, data: bytes) -> bool:
        """Give everybody what has come. Returns True: there is always room, since a stream that its client
        does not read has only so much here (CHANNEL_BYTES). Raises FrameError."""
        for number, piece in self._reader.feed(data):
            receiver = self._receivers.get(number)
            if receiver is not None:
                self.num_pieces += 1
                receiver.on_piece(piece)
        return True

    def fail(self, error: Exception) -> None:
        """It is broken, and with it all that was under way."""
        for receiver in list(self._receivers.values()):
            receiver.fail(error)
        self._receivers.clear()
