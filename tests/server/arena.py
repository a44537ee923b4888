"""A server on the simulated engine: hostile requests run beside witnesses, and what must hold afterwards.

The invariants, by one check after every trial:

    I1  every request got one answer: whole, or an error, or a stream that ends in one of the two
    I2  what was answered is right: witnesses are compared token for token with what they get alone
    I3  nothing is left: no live request, no task, thread, process, connection or file more than before
    I4  nobody else was harmed: every witness got 200
    I5  health is honest: the server is ready, and answers
    I6  all is bounded: every limit has its row, at the limit and one above (test_limits.py)
    I7  no code came of data: nothing was unpickled, compiled or started, and nothing was connected to
    I8  no answer holds a word of another request
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from octavo.backends.sim.backend import sim_token
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.http.connection import ConnectionLimits
from tests.engine.harness import children
from tests.engine.sim_byte_engine import VOCAB_SIZE
from tests.fakes import FakeReplica, byte_text, fake_replica
from tests.over_socket import Served, over_socket
from tests.router.routed import Routed
from tests.server.hostile_rows import KEY, MAX_BODY_BYTES
from tests.server.raw_client import Answer, exchange, request
from tests.server.serving import sim_engine

IMPATIENT = ConnectionLimits(head_seconds=0.2, stall_seconds=0.2)
BODY_SECONDS = 0.2  # of the impatient server
NUM_WITNESS_TOKENS = 24
SECRET = "witness-secret"
SHARED = "of router and server"
_LEAK = re.compile(r"0x[0-9a-fA-F]{6,}|Traceback|File \"|/src/|/site-packages/|/tmp/|127\.0\.0\.1")
_FORBIDDEN = ("pickle.find_class", "compile", "exec", "subprocess.Popen", "os.system", "os.exec")
_MAX_MESSAGE = 1000  # characters


class CodeAlarm:
    """Listens to Python's audit events, which nobody can stop listening to: so it is made once."""

    def __init__(self) -> None:
        self.allowed_ports: set[int] = set()
        self.heard: list[str] = []
        self.is_armed = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_armed:
            return
        is_outward = event == "socket.connect" and arguments[1][-1] not in self.allowed_ports
        if event in _FORBIDDEN or is_outward:
            self.heard.append(f"{event} {arguments!r:.200}")

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        self.heard.clear()
        self.is_armed = True
        try:
            yield
        finally:
            self.is_armed = False
        assert not self.heard


@dataclasses.dataclass
class Arena:
    engine: EngineClient
    replica: FakeReplica
    patient: Served
    impatient: Served  # the same engine, with short deadlines
    locked: Served  # the same engine, behind a key
    routed: Served  # the patient one, through a router
    router: Routed
    alarm: CodeAlarm
    num_trials: int = 0
    counts_before: dict[str, int] = dataclasses.field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def trial(self) -> AsyncIterator[None]:
        """Witnesses run beside what happens inside; then the invariants are checked."""
        self.num_trials += 1
        if not self.counts_before:
            await self._witness(0, is_stream=True)
            await self.settle()
            self.counts_before = self._counts()
        numbers = range(4 * self.num_trials, 4 * self.num_trials + 4)
        with self.alarm.armed():
            witnesses = [asyncio.create_task(self._witness(i, is_stream=i % 2 == 0)) for i in numbers]
            try:
                yield
            finally:
                await asyncio.gather(*witnesses)
        await self.settle()  # I3
        (ready,) = await exchange(self.patient.port, request("/readyz", method="GET"))
        assert ready.status == 200  # I5

    async def _witness(self, number: int, *, is_stream: bool) -> None:
        prompt = f"{SECRET} {number} says: "
        body = {"model": "tiny", "prompt": prompt, "seed": number, "max_tokens": NUM_WITNESS_TOKENS}
        body |= {"ignore_eos": True, "stream": is_stream}
        raw = request("/v1/completions", json.dumps(body).encode())
        (answer,) = await exchange(self.patient.port, raw)
        assert answer.status == 200, answer  # I4
        check_one_answer(answer)
        assert text_of(answer) == expected_text(number, len(prompt))  # I2

    async def settle(self) -> None:
        """Until nothing is under way and nothing more is held than before, or for as long as something that
        hangs would take to show."""
        for attempt in range(500):
            self.router.endpoints[0].upstream.close()  # connections that it keeps
            states = [served.state for served in (self.patient, self.impatient, self.locked, self.routed)]
            is_busy = self.engine.num_live or any(state.connections or state.tasks for state in states)
            if not is_busy and not self._grown():
                return
            if attempt % 50 == 5:
                gc.collect()
            await asyncio.sleep(0.01)
        raise AssertionError(
            f"requests: {self.engine.num_live}; grown: {self._grown()} of {self.counts_before}"
        )

    def _grown(self) -> dict[str, int]:
        counts = self._counts()
        return {name: counts[name] for name, before in self.counts_before.items() if counts[name] > before}

    def _counts(self) -> dict[str, int]:
        return {
            "restarts": self.engine.num_restarts,
            "processes": len(children()),
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "threads": sum("asyncio" not in thread.name for thread in threading.enumerate()),
        }


@contextlib.asynccontextmanager
async def arena(alarm: CodeAlarm) -> AsyncIterator[Arena]:
    async with sim_engine(max_num_seqs=32) as engine:
        options: dict[str, Any] = {"max_body_bytes": MAX_BODY_BYTES, "cache_seconds": 0.0}
        replica = fake_replica(engine, **options, secret=SHARED)
        await replica.readiness.record()
        hasty = fake_replica(engine, **options, body_timeout_seconds=BODY_SECONDS)
        closed = fake_replica(engine, **options, api_key=KEY)
        async with (
            over_socket(replica.app) as patient,
            over_socket(hasty.app, IMPATIENT) as impatient,
            over_socket(closed.app) as locked,
        ):
            router = Routed([patient.url], secret=SHARED, max_body_bytes=MAX_BODY_BYTES)
            await router.look()
            async with over_socket(router.app) as routed:
                alarm.allowed_ports = {patient.port, impatient.port, locked.port, routed.port}
                yield Arena(engine, replica, patient, impatient, locked, routed, router, alarm)


def expected_text(seed: int, num_prompt_tokens: int) -> str:
    """What the engine answers this seed after so many tokens, alone."""
    tokens = [
        sim_token(seed, 0, num_prompt_tokens + index, VOCAB_SIZE) for index in range(NUM_WITNESS_TOKENS)
    ]
    text = byte_text(SamplingParams())
    return text.push(tokens) + text.finish()


def text_of(answer: Answer) -> str:
    if answer.headers["content-type"].startswith("text/event-stream"):
        chunks = [json.loads(event) for event in answer.events if event != "[DONE]"]
        return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    text: str = answer.json["choices"][0]["text"]
    return text


def check_one_answer(answer: Answer) -> None:
    """I1, and that nothing of ours or of others is in it (I8)."""
    assert answer.headers["x-request-id"]
    assert SECRET not in answer.body.decode(errors="replace")
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        *chunks, last = answer.events
        if last == "[DONE]":
            reasons = [choice["finish_reason"] for c in map(json.loads, chunks) for choice in c["choices"]]
            assert any(reasons), "a stream without an end"
        else:
            check_error(json.loads(last))
    elif answer.status >= 400 and answer.body:
        assert answer.headers["content-type"] == "application/json"
        check_error(answer.json)
        assert answer.headers["x-should-retry"] in ("true", "false")
        assert answer.status < 500 or answer.status == 503
    elif answer.body:
        assert answer.headers["content-type"].startswith(("application/json", "text/plain"))


def check_error(content: dict[str, Any]) -> None:
    error = content["error"]
    assert set(error) == {"message", "type", "param", "code"}
    message = error["message"]
    assert message.endswith(".") and len(message) <= _MAX_MESSAGE
    assert not _LEAK.search(json.dumps(content))
