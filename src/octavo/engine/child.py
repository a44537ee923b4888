"""One engine process, seen from its parent: started with a socket and a journal, dead in the end."""

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from octavo.core.messages import EngineMessage
from octavo.engine.client import EngineFault
from octavo.engine.frames import FrameDecoder, FrameError, encode_frame
from octavo.engine.journal import JournalReader


class EngineChild:
    """Made by spawn(); end() must be awaited. Runs in the server's event loop, plus one thread that reaps."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", socket_: socket.socket, journal: JournalReader
    ) -> None:
        self.socket = socket_
        self.journal = journal
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Set when the process is dead and reaped; minus the signal's number if one killed it."""
        self._process = process
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._reap, name="octavo-engine-reaper", daemon=True).start()

    @classmethod
    def spawn(
        cls, command: Sequence[str], epoch: int, max_num_seqs: int, *, niceness: int = 0
    ) -> "EngineChild":
        """Start command with the arguments of engine/process.py. Raises OSError.

        niceness: at most, where the system lets it be lowered.

        It inherits SIGINT and SIGTERM blocked, so that a Ctrl-C while it starts cannot hit it unprepared.
        """
        ours, theirs = socket.socketpair()
        journal = JournalReader(max_num_seqs)
        ours.setblocking(False)
        arguments = {
            "fd": theirs.fileno(),
            "journal-fd": journal.fd,
            "epoch": epoch,
            "parent-pid": os.getpid(),
            "niceness": niceness,
        }
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in arguments.items())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), journal.fd),
            )
        except OSError:
            ours.close()
            journal.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        return cls(process, ours, journal)

    def _reap(self) -> None:
        code = self._process.wait()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set_exit_code, code)

    def _set_exit_code(self, code: int) -> None:
        if not self.exit_code.done():
            self.exit_code.set_result(code)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_stopped(self) -> bool:
        """By SIGSTOP or a debugger."""
        try:
            stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in ("T", "t")

    def print_stacks(self) -> None:
        """The engine's threads print their Python stacks to stderr, unless it is stopped."""
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """Works on a stopped process too; harmless on a dead one."""
        self._process.kill()

    async def end(self) -> None:
        """Kill the process if it lives, wait until it is reaped, and release what was shared with it."""
        self.kill()
        await asyncio.wait({self.exit_code})
        self.socket.close()
        self.journal.close()


class EngineConnection(asyncio.Protocol):
    """The server's end of the socket: bytes in, messages out; closes itself at the first fault."""

    def __init__(self, on_message: Callable[[EngineMessage], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fault: EngineFault | None = None
        self._on_message = on_message
        self._decoder: FrameDecoder[EngineMessage] = FrameDecoder(EngineMessage)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by inheritance

    def send(self, message: msgspec.Struct) -> None:
        """Never blocks; what the engine has not read waits in the server's memory.

        What is sent between an engine's death and its report is lost with it: its successor gets everything.
        """
        assert self._transport is not None
        if not self._transport.is_closing():  # uvloop's raises then
            self._transport.write(encode_frame(message))

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._on_message(message)
        except FrameError as error:
            self._break_off(EngineFault(str(error)))
        except EngineFault as fault:
            self._break_off(fault)

    def _break_off(self, fault: EngineFault) -> None:
        self.fault = fault
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
