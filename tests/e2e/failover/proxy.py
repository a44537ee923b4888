"""A TCP proxy that can cut a network: bytes stop, nobody is told. It counts what it did, so that a test can
say that the fault has happened."""

import asyncio
import contextlib
from collections.abc import Iterator


class CutProxy:
    """Passes bytes to target_port on this machine. Cut, it takes what comes and passes on nothing."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.is_cut = False
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
                    await asyncio.gather(self._pass(reader, replica[1]), self._pass(replica[0], writer))
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

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An end, or an error, on one side is one on the other."""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.is_cut:
                    self.num_lost += len(data)
                else:
                    self.num_passed += len(data)
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()
