"""The engine process: loads the engine, then turns messages into steps and steps into frames.

Knows nothing of HTTP, text or restarts. SIGINT and SIGTERM are its parent's business and are ignored; it dies
with its parent, by the kernel's parent-death signal and by the end of the socket. Whatever else ends it,
supervisor.py finds in the journal what it was doing.
"""

import argparse
import contextlib
import faulthandler
import gc
import os
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from octavo.config import EngineConfig, Environment
from octavo.core.errors import OctavoError, StartError
from octavo.core.messages import (
    Abort,
    ClientMessage,
    EngineStats,
    Ready,
    RequestOutput,
    StartFailure,
    StepFrame,
    Submit,
)
from octavo.core.request import FinishReason
from octavo.engine.frames import FrameDecoder, Start, encode_frame
from octavo.engine.journal import Journal
from octavo.engine.parent import die_with_parent

RECEIVE_BYTES = 1 << 20
EXIT_CRASHED = 70


class Core(Protocol):
    """What the loop needs of engine/core.py. It records every step in the journal before submitting it.

    step without work does nothing, but still reports the gauges: an abort may have changed them. do_idle_work
    takes milliseconds, and returns whether there was any.
    """

    @property
    def has_work(self) -> bool: ...

    def add(self, message: Submit) -> None: ...

    def abort(self, request_ids: Sequence[str]) -> None: ...

    def step(self) -> tuple[list[RequestOutput], EngineStats]: ...

    def do_idle_work(self) -> bool: ...


class LoadedEngine(Protocol):
    @property
    def core(self) -> Core: ...

    @property
    def ready(self) -> Ready: ...


Load = Callable[[EngineConfig, Environment, Journal, int], LoadedEngine]


def main(load: Load, arguments: Sequence[str] | None = None) -> None:
    """Run one engine until the socket ends. An exception out of a step ends the process; others resume."""
    parser = argparse.ArgumentParser(
        prog="python -m octavo.engine", description="Started by the server, not by hand."
    )
    parser.add_argument("--fd", type=int, required=True, help="inherited unix socket")
    parser.add_argument("--journal-fd", type=int, required=True, help="inherited memory page")
    parser.add_argument("--epoch", type=int, required=True, help="how often the engine has been started")
    parser.add_argument("--parent-pid", type=int, required=True, help="dies with this process")
    parser.add_argument("--niceness", type=int, required=True, help="at most")
    options = parser.parse_args(arguments)
    _obey_the_parent_only(options.parent_pid)
    _keep_priority(options.niceness)
    channel = Channel(options.fd)
    journal = Journal(options.journal_fd)
    try:
        engine = _load(load, channel, journal, options.epoch)
        if engine is not None:
            EngineProcess(engine.core, channel, journal, options.epoch).run()
    except ChannelEnd:
        return  # the parent is gone, or has no more use for this engine
    except Exception:
        traceback.print_exc()
        os._exit(EXIT_CRASHED)  # at once: an orderly exit could wait for native threads


def _obey_the_parent_only(parent_pid: int) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the supervisor asks a hung engine where it is
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM)
    )  # blocked by the parent until here
    die_with_parent(parent_pid)


def _keep_priority(niceness: int) -> None:
    """A server that serves has lowered its own priority, and a later engine would inherit that."""
    if os.getpriority(os.PRIO_PROCESS, 0) > niceness:
        with contextlib.suppress(OSError):  # raising it again takes a right that not everybody has
            os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _load(load: Load, channel: "Channel", journal: Journal, epoch: int) -> LoadedEngine | None:
    """Load as the first frame says and report readiness, or the reason why not."""
    start = channel.receive_start()
    try:
        engine = load(start.config, start.environment, journal, epoch)
    except StartError as error:
        channel.send(StartFailure(str(error)))
        return None
    except Exception as error:
        traceback.print_exc()
        channel.send(
            StartFailure(f"The engine failed to load: {type(error).__name__}: {error}", is_final=False)
        )
        return None
    journal.finish()  # loading may have computed a first token
    gc.collect()
    gc.freeze()  # what is loaded now stays: no collection need look at it again
    channel.send(engine.ready)
    return engine


class EngineProcess:
    """The step loop."""

    def __init__(self, core: Core, channel: "Channel", journal: Journal, epoch: int) -> None:
        self._core = core
        self._channel = channel
        self._journal = journal
        self._epoch = epoch
        self._num_frames = 0

    def run(self) -> None:
        """Sleeps in the kernel while there is no work. Ends with ChannelEnd, or with what a step raises."""
        while True:
            refused = self._take(self._receive())
            outputs, stats = self._core.step()
            self._journal.finish()
            self._send(refused + outputs, stats)

    def _receive(self) -> list[ClientMessage]:
        """Until somebody asks for something, idle work is done, and then nothing."""
        messages = self._channel.receive(is_waiting=False)
        while not messages and not self._core.has_work:
            messages = self._channel.receive(is_waiting=not self._core.do_idle_work())
        return messages

    def _take(self, messages: list[ClientMessage]) -> list[RequestOutput]:
        """Hand messages to the core. A request that it cannot take fails alone: its output is returned."""
        refused = []
        for message in messages:
            if isinstance(message, Abort):
                self._core.abort(message.request_ids)
                continue
            try:
                self._core.add(message)
            except Exception as error:
                refused.append(_refusal(message, error))
        return refused

    def _send(self, outputs: list[RequestOutput], stats: EngineStats) -> None:
        self._num_frames += 1
        self._channel.send(StepFrame(self._epoch, self._num_frames, outputs, stats))


def _refusal(message: Submit, error: Exception) -> RequestOutput:
    if isinstance(error, OctavoError):
        sentence = str(error)
    else:
        traceback.print_exception(error)
        sentence = f"The engine could not take this request: {type(error).__name__}."
    first_index = len(message.token_ids) - message.num_prompt_tokens
    return RequestOutput(message.request_id, first_index, [], FinishReason.ERROR, sentence)


class ChannelEnd(Exception):
    """The supervisor closed its end of the socket."""


class Channel:
    """The engine's end of the socket."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._decoder: FrameDecoder[Start | ClientMessage] = FrameDecoder(Start | ClientMessage)

    def receive_start(self) -> Start:
        """The first message."""
        messages = self._receive(flags=0)
        assert len(messages) == 1 and isinstance(messages[0], Start)
        return messages[0]

    def receive(self, *, is_waiting: bool) -> list[ClientMessage]:
        """All messages that have come; is_waiting: sleep until there is one. Raises ChannelEnd."""
        received = self._receive(flags=0 if is_waiting else socket.MSG_DONTWAIT)
        messages = [message for message in received if not isinstance(message, Start)]
        assert len(messages) == len(received)
        return messages

    def _receive(self, flags: int) -> list[Start | ClientMessage]:
        messages: list[Start | ClientMessage] = []
        while not messages:
            try:
                data = self._socket.recv(RECEIVE_BYTES, flags)
            except BlockingIOError:
                break
            except ConnectionError as error:
                raise ChannelEnd from error
            if not data:
                raise ChannelEnd
            messages.extend(self._decoder.feed(data))
        return messages

    def send(self, message: msgspec.Struct) -> None:
        """Blocks while the server does not read. Raises ChannelEnd."""
        try:
            self._socket.sendall(encode_frame(message))
        except ConnectionError as error:
            raise ChannelEnd from error

    def close(self) -> None:
        self._socket.close()
