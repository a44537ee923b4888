"""The loop of the engine process, run in a thread over a real socket; for its signals see test_child.py."""

import contextlib
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.messages import Abort, EngineMessage, RequestOutput, StepFrame, Submit
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.frames import FrameDecoder, Start, encode_frame
from octavo.engine.journal import Journal, JournalReader
from octavo.engine.process import Channel, ChannelEnd, EngineProcess
from tests.engine.fake_engine import REFUSED, FakeCore, answer


class Parent:
    """The other end of the socket."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._decoder: FrameDecoder[EngineMessage] = FrameDecoder(EngineMessage)

    def send(self, *messages: msgspec.Struct) -> None:
        self.end.sendall(b"".join(encode_frame(message) for message in messages))

    def receive(self) -> list[EngineMessage]:
        return list(self._decoder.feed(self.end.recv(1 << 16)))


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[Parent, Channel]]:
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach())
    with ours:
        yield Parent(ours), channel
    channel.close()


@contextlib.contextmanager
def running_engine(core: FakeCore | None = None) -> Iterator[tuple[Parent, JournalReader]]:
    reader = JournalReader(max_num_seqs=8)
    with socket_pair() as (parent, channel):
        journal = Journal(reader.fd)

        def run() -> None:
            with contextlib.suppress(ChannelEnd):
                EngineProcess(core or FakeCore(journal.record), channel, journal, epoch=3).run()

        thread = threading.Thread(target=run)
        thread.start()
        yield parent, reader
        parent.end.shutdown(socket.SHUT_RDWR)
        thread.join()
    reader.close()


def request(request_id: str, *prompt: int, max_tokens: int = 3) -> Submit:
    sampling = SamplingParams(max_tokens=max_tokens)
    return Submit(request_id, list(prompt), len(prompt), sampling, seed=0, arrival=0.0)


def frames_until(parent: Parent, request_id: str) -> list[StepFrame]:
    """All frames up to the one that ends the request."""
    frames: list[StepFrame] = []
    while not any(
        output.request_id == request_id and output.finish_reason
        for frame in frames
        for output in frame.outputs
    ):
        for message in parent.receive():
            assert isinstance(message, StepFrame)
            frames.append(message)
    return frames


def outputs_of(request_id: str, frames: list[StepFrame]) -> list[RequestOutput]:
    return [output for frame in frames for output in frame.outputs if output.request_id == request_id]


def test_every_step_is_one_frame_with_its_epoch_and_number() -> None:
    with running_engine() as (parent, journal):
        parent.send(request("a", 1, 2), request("b", 3, 4))
        frames = frames_until(parent, "b")
        assert [(frame.epoch, frame.step_id) for frame in frames] == [(3, 1), (3, 2), (3, 3)]
        assert [[output.request_id for output in frame.outputs] for frame in frames] == [["a", "b"]] * 3
        tokens = [
            output.token_ids[0] for frame in frames for output in frame.outputs if output.request_id == "b"
        ]
        assert tokens == answer([3, 4], 0, 3)
        assert journal.step_id == 3
        assert journal.running_step() is None


def test_a_request_the_core_refuses_fails_alone() -> None:
    with running_engine() as (parent, _):
        parent.send(request("bad", REFUSED), request("good", 1))
        frames = frames_until(parent, "good")
        [refusal] = outputs_of("bad", frames)
        assert refusal.error == "The fake core takes no such token."
        assert refusal.finish_reason is FinishReason.ERROR
        assert len(outputs_of("good", frames)) == 3


def test_an_abort_of_the_last_request_still_brings_a_frame_with_the_gauges() -> None:
    with running_engine() as (parent, _):
        parent.send(request("a", 1, max_tokens=100_000))
        parent.receive()
        parent.send(Abort(["a"]))
        while True:
            *_, last = parent.receive()
            assert isinstance(last, StepFrame)
            if last.stats.num_running == 0:
                break
        assert last.outputs == []


class Patient(FakeCore):
    """Has idle work without end."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.works: list[bool] = []  # whether there was a request meanwhile

    def do_idle_work(self) -> bool:
        self.works.append(self.has_work)
        return True


def test_idle_work_is_done_while_nobody_asks_and_makes_nobody_wait() -> None:
    core = Patient()
    with running_engine(core) as (parent, _):
        while len(core.works) < 3:
            time.sleep(0.001)
        parent.send(request("a", 1, max_tokens=20))
        assert len(outputs_of("a", frames_until(parent, "a"))) == 20
        count = len(core.works)
        while len(core.works) < count + 3:
            time.sleep(0.001)
    assert not any(core.works)


def test_an_engine_with_no_idle_work_left_sleeps() -> None:
    core = FakeCore(lambda *_: None, num_idle_works=2)
    with running_engine(core) as (parent, _):
        parent.send(request("a", 1))
        frames_until(parent, "a")
        parent.send(request("b", 1))
        frames_until(parent, "b")
    assert -3 <= core.num_idle_works < 0  # asked once more each time that nothing was there to do


def test_the_channel_takes_what_is_there_and_waits_only_when_asked() -> None:
    with socket_pair() as (parent, channel):
        parent.send(start := Start(EngineConfig(), Environment(pathlib.Path("/home"), None, None, "info")))
        assert channel.receive_start() == start
        assert channel.receive(is_waiting=False) == []
        parent.send(Abort(["a"]), Abort(["b"]))
        assert channel.receive(is_waiting=True) == [Abort(["a"]), Abort(["b"])]
        half = bytes(encode_frame(Abort(["c"])))
        parent.end.sendall(half[:5])
        assert channel.receive(is_waiting=False) == []
        parent.end.sendall(half[5:])
        assert channel.receive(is_waiting=True) == [Abort(["c"])]


def test_the_end_of_the_socket_ends_the_channel() -> None:
    with socket_pair() as (parent, channel):
        parent.end.close()
        with pytest.raises(ChannelEnd):
            channel.receive(is_waiting=True)
        with pytest.raises(ChannelEnd):
            channel.send(Abort([]))
