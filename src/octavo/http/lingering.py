"""Closing a connection on which more is still coming, so that the client reads the answer first.

A socket that is closed with unread data in it resets the connection, and the client may lose what it was
told. So our side ends, theirs is read and dropped until it ends too, and only then the socket is closed.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class LingeringTransport:
    """A transport, but for close(). needs_it says, when it is closed, whether more may be coming."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        needs_it: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._needs_it = needs_it
        self._timer: asyncio.TimerHandle | None = None
        self.is_lingering = False
        self.write = transport.write  # no detour for what is called most
        self.get_write_buffer_size = transport.get_write_buffer_size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not (self._needs_it() and self._transport.can_write_eof()):  # TLS cannot end one side
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._loop.call_later(self._seconds, self._transport.close)

    def ended(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
