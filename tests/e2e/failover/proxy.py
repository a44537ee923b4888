"""A TCP proxy that can cut a network: bytes stop, nobody is told; or end, or spoil, one answer at a byte. It
counts what it did, so that a test can say that the fault has happened."""

import asyncio
import contextlib
from collections.abc import Iterator


class CutProxy:
    """Passes bytes to target_port on this machine. Cut, it takes what comes and passes on nothing."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.is_cut = False
        self.break_after: int | None = None  # bytes of answers from now on; then the connection ends, once
        self.last_words = b""  # before it does, behind a whole piece: what no answer may contain
        self.num_broken = 0
        self.num_passed = 0  # bytes
        self.num_lost = 0  # bytes
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Every connection ends, as after a cut that has healed; new ones pass."""
        self.is_cut = False
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError, OSError), self._known(writer):
                replica = await asyncio.open_connection("127.0.0.1", self.target_port)
                with self._known(replica[1]):
                    await asyncio.gather(
                        self._pass(reader, replica[1]), self._pass(replica[0], writer, is_answer=True)
                    )
        finally:
            self._tasks.discard(task)

    @contextlib.contextmanager
    def _known(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False
    ) -> None:
        """An end, or an error, on one side is one on the other."""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if is_answer and self.break_after is not None:
                    if len(data) > self.break_after:
                        end = len(data) if self.last_words else self.break_after  # after a whole piece
                        writer.write(data[:end] + self.last_words)
                        await writer.drain()
                        self.break_after = None
                        self.num_broken += 1
                        writer.close()
                        return
                    self.break_after -= len(data)
                if self.is_cut:
                    self.num_lost += len(data)
                else:
                    self.num_passed += len(data)
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()
