"""The client against a scripted supervisor: no process, no socket."""

import msgspec
import pytest

from octavo.core.errors import EngineError
from octavo.core.messages import Abort, EngineStats, Ready, RequestOutput, StepFrame, Submit
from octavo.core.request import FinishReason
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import Death, EngineClient, EngineFault
from octavo.engine.journal import StepRecord
from octavo.engine.streams import RequestStream
from octavo.engine.suspects import DeathCause

pytestmark = pytest.mark.asyncio


class Script:
    """A client, the time, and all messages that the present engine has received."""

    def __init__(self, max_num_seqs: int = 4) -> None:
        self.now = 100.0
        self.sent: list[msgspec.Struct] = []
        self.client = EngineClient(
            max_num_seqs=max_num_seqs, max_num_queued_requests=8, clock=lambda: self.now
        )
        self.epoch = -1

    def start_engine(self, fingerprint: str = "model") -> None:
        self.epoch += 1
        self.sent = []
        ready = Ready(self.epoch, 64, 100, 8, {}, {}, fingerprint, 1, "none")
        self.client.engine_started(ready, self.sent.append)

    def submit(self, request_id: str, **options: object) -> RequestStream:
        self.now += 1
        return self.client.submit([1, 2], SamplingParams(), request_id=request_id, seed=1, **options)  # type: ignore[arg-type]

    def submitted(self) -> dict[str, Submit]:
        """By the id the server gave."""
        messages = [message for message in self.sent if isinstance(message, Submit)]
        return {message.request_id.split("~")[0]: message for message in messages}

    def wire_id(self, request_id: str) -> str:
        return self.submitted()[request_id].request_id

    def token(self, request_id: str, index: int, finish: FinishReason | None = None, epoch: int = 0) -> None:
        self.now += 1
        output = RequestOutput(self.wire_id(request_id), index, [50 + index], finish)
        self.client.receive(StepFrame(self.epoch + epoch, 1, [output], EngineStats(num_steps=3)))

    def die(self, cause: DeathCause, *in_step: str, new: tuple[str, ...] = ()) -> bool:
        record = StepRecord(1, tuple(map(self.wire_id, in_step)), tuple(map(self.wire_id, new)))
        return self.client.engine_died(Death(cause, record if in_step else None))


async def test_requests_wait_for_an_engine() -> None:
    script = Script()
    script.submit("a")
    assert not script.client.is_ready
    assert script.client.stats.num_waiting == 1
    script.start_engine()
    assert script.client.is_ready
    assert script.client.stats.num_waiting == 0
    assert list(script.submitted()) == ["a"]


async def test_frames_of_another_epoch_and_of_unknown_requests_are_dropped() -> None:
    script = Script()
    script.start_engine()
    stream = script.submit("a")
    script.token("a", 0, epoch=-1)
    script.token("a", 7, epoch=1)
    assert stream.num_output_tokens == 0
    other = RequestOutput("b~9", 5, [1])
    script.client.receive(StepFrame(script.epoch, 1, [other], EngineStats()))
    script.token("a", 0)
    assert stream.num_output_tokens == 1


async def test_a_gap_names_its_request() -> None:
    script = Script()
    script.start_engine()
    script.submit("a")
    wire_id = script.wire_id("a")
    with pytest.raises(EngineFault, match="token 1 of request a") as fault:
        script.token("a", 1)
    assert fault.value.step == StepRecord(-1, (wire_id,), (wire_id,))


async def test_who_has_waited_longest_is_resubmitted_first_with_the_tokens_so_far() -> None:
    script = Script()
    script.start_engine()
    for request_id in "abc":
        script.submit(request_id)
    for request_id in "bca":
        script.token(request_id, 0)
    arrivals = {request_id: message.arrival for request_id, message in script.submitted().items()}
    script.die(DeathCause.KILLED, "a", "b", "c")
    script.submit("d")
    script.start_engine()
    assert list(script.submitted()) == ["b", "c", "a", "d"]
    assert script.submitted()["a"].token_ids == [1, 2, 50]
    assert {name: script.submitted()[name].arrival for name in "abc"} == arrivals
    assert not any(message.is_suspect for message in script.submitted().values())


async def test_a_fork_names_its_parent_by_the_wire_id_of_the_epoch() -> None:
    script = Script()
    script.start_engine()
    script.submit("a")
    script.submit("b", fork_of="a", branch=1)
    script.submit("c", fork_of="gone", branch=1)
    assert script.submitted()["a"].fork_of is None
    assert script.submitted()["b"].fork_of == script.wire_id("a")
    assert script.submitted()["c"].fork_of is None
    script.die(DeathCause.KILLED)
    script.start_engine()
    assert script.submitted()["b"].fork_of == script.wire_id("a")


async def test_what_has_ended_is_not_resubmitted() -> None:
    script = Script()
    script.start_engine()
    finished, aborted, running = (script.submit(request_id) for request_id in "abc")
    script.token("a", 0, FinishReason.STOP)
    aborted.abort()
    script.die(DeathCause.KILLED)
    running.abort()
    script.start_engine()
    assert script.sent == []
    assert finished.has_ended


async def test_an_abort_is_sent_at_once_and_once() -> None:
    script = Script()
    script.start_engine()
    stream = script.submit("a")
    stream.abort()
    stream.abort()
    assert script.sent[1:] == [Abort([script.wire_id("a")])]
    assert not script.client.is_working


async def test_a_suspect_is_marked_until_it_has_a_token() -> None:
    script = Script()
    script.start_engine()
    for request_id in "ab":
        script.submit(request_id)
    script.die(DeathCause.CRASH, "a", "b", new=("b",))
    script.start_engine()
    assert {name: message.is_suspect for name, message in script.submitted().items()} == {
        "a": False,
        "b": True,
    }
    script.token("b", 0)
    script.die(DeathCause.KILLED)
    script.start_engine()
    assert not script.submitted()["b"].is_suspect


async def test_the_guilty_one_is_told_and_nobody_else() -> None:
    script = Script()
    script.start_engine()
    innocent, guilty = script.submit("a"), script.submit("b")
    assert not script.die(DeathCause.CRASH, "a", "b", new=("b",))
    script.start_engine()
    assert script.die(DeathCause.CRASH, "b")
    with pytest.raises(EngineError, match="stopped the engine twice"):
        await anext(guilty)
    script.start_engine()
    assert list(script.submitted()) == ["a"]
    assert not innocent.has_ended


async def test_a_crash_between_steps_makes_all_in_the_engine_suspects() -> None:
    script = Script()
    script.start_engine()
    script.submit("a")
    script.submit("b")
    script.die(DeathCause.CRASH)
    script.start_engine()
    assert all(message.is_suspect for message in script.submitted().values())


async def test_requests_that_are_dangerous_together_are_let_in_one_by_one() -> None:
    script = Script()
    script.start_engine()
    for request_id in "ab":
        script.submit(request_id)
    for _ in range(2):
        script.die(DeathCause.CRASH, "a", "b")
        script.start_engine()
    assert list(script.submitted()) == ["a"]
    late = script.submit("c")
    assert script.client.stats.num_waiting == 2
    script.token("a", 0, FinishReason.STOP)
    assert list(script.submitted()) == ["a", "b"]
    script.token("b", 0, FinishReason.STOP)
    assert list(script.submitted()) == ["a", "b", "c"]
    assert not late.has_ended


async def test_counters_go_on_where_the_last_engine_stopped() -> None:
    script = Script()
    for num_engines in range(1, 4):
        script.start_engine()
        script.submit(f"r{num_engines}")
        script.token(f"r{num_engines}", 0)
        assert script.client.stats.num_steps == 3 * num_engines
        script.die(DeathCause.KILLED)
    assert script.client.stats.num_running == 0
    assert script.client.num_restarts == 2


async def test_an_engine_with_another_model_is_a_fault() -> None:
    script = Script()
    script.start_engine()
    script.submit("a")
    script.die(DeathCause.KILLED)
    with pytest.raises(EngineFault, match="changed"):
        script.start_engine("another model")
    assert script.sent == []


async def test_progress_is_measured_only_while_something_is_owed() -> None:
    script = Script()
    script.start_engine()
    script.now += 50
    assert script.client.seconds_since_progress == 0
    stream = script.submit("a")
    script.now += 5
    assert script.client.seconds_since_progress == 5
    script.token("a", 0)
    assert script.client.seconds_since_progress == 0
    script.now += 5
    stream.abort()
    assert script.client.seconds_since_progress == 0


async def test_giving_up_fails_everything_with_the_cause() -> None:
    script = Script()
    stream = script.submit("a")
    script.client.gave_up("There is no engine.")
    assert script.client.fatal.result() == "There is no engine."
    with pytest.raises(EngineError, match="There is no engine"):
        await anext(stream)
    with pytest.raises(EngineError, match="There is no engine"):
        script.submit("b")


@pytest.mark.parametrize("request_id", ["x" * 240, "ä" * 120, "a\0b"])
async def test_an_id_that_does_not_fit_the_journal_is_refused(request_id: str) -> None:
    with pytest.raises(ValueError, match="239 bytes"):
        Script().submit(request_id)


async def test_probes_pass_a_full_queue_and_do_not_count() -> None:
    script = Script(max_num_seqs=1)
    for number in range(9):
        script.submit(f"p{number}", is_probe=True)
        script.submit(f"r{number}")
    assert script.client.num_live == 9
    assert await script.client.drain(0) == 9
