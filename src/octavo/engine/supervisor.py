"""Keeps an engine running: starts the process, watches its progress, finds out how it died, starts the next.

An engine is dead and reaped before its successor starts. Which requests the successor gets is the business of
client.py. Runs in the server's event loop.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from octavo.config import EngineConfig, Environment
from octavo.core.errors import StartError
from octavo.core.messages import EngineMessage, Ready, StartFailure, StepFrame
from octavo.engine.child import EngineChild, EngineConnection
from octavo.engine.client import Death, EngineClient
from octavo.engine.cpu_share import CpuShare
from octavo.engine.frames import Start
from octavo.engine.suspects import DeathCause
from octavo.engine.watchdog import ProgressWatch

# What a program brings upon itself; any other signal comes from outside.
OWN_SIGNALS = (
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSYS,
    signal.SIGTRAP,
)

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisorLimits:
    """The supervisor's patience."""

    step_deadline_seconds: float = 20.0  # without progress while requests are in the engine: it hangs
    start_deadline_seconds: float = 600.0  # from spawn to Ready
    look_interval_seconds: float = 0.5
    stack_dump_seconds: float = 0.2  # for a hung engine to print its stacks before it is killed
    exit_seconds: float = 2.0  # for an engine that has closed its socket to exit, or the reverse
    first_backoff_seconds: float = 0.1  # doubled with each failure in a row
    max_backoff_seconds: float = 5.0
    max_failures: int = 5  # deaths in a row of engines that did nothing; then the supervisor gives up


class EngineSupervisor:
    """One per server."""

    @classmethod
    async def start(
        cls,
        config: EngineConfig,
        environment: Environment,
        *,
        command: Sequence[str] | None = None,
        limits: SupervisorLimits | None = None,
    ) -> EngineClient:
        """Start the engine and wait until it is ready. Raises StartError with its sentence when it cannot.

        command starts the engine process, with arguments added; default: octavo.engine in this Python.
        """
        command = command or (sys.executable, "-P", "-m", "octavo.engine")
        client = EngineClient(
            max_num_seqs=config.max_num_seqs, max_num_queued_requests=config.max_num_queued_requests
        )
        supervisor = cls(config, environment, command, limits or SupervisorLimits(), client)
        client.on_close(supervisor._stop)
        try:
            await supervisor._wait_for_first_engine()
        except BaseException:
            await client.close()
            raise
        return client

    def __init__(
        self,
        config: EngineConfig,
        environment: Environment,
        command: Sequence[str],
        limits: SupervisorLimits,
        client: EngineClient,
    ) -> None:
        self._config = config
        self._environment = environment
        self._command = command
        self._limits = limits
        self._client = client
        self._niceness = os.getpriority(os.PRIO_PROCESS, 0)  # before the server lowers its own priority
        self._num_failures = 0  # in a row
        self._is_ready = asyncio.Event()  # the first engine is
        self._task = asyncio.create_task(self._run(), name="octavo-engine-supervisor")

    async def _wait_for_first_engine(self) -> None:
        is_ready = asyncio.create_task(self._is_ready.wait())
        ends: set[asyncio.Future[Any]] = {is_ready, self._client.fatal}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        is_ready.cancel()
        if self._client.fatal.done():
            raise StartError(self._client.fatal.result())

    async def _stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        """One engine after the other, until one may not be followed."""
        try:
            epoch = 0
            while (cause := await self._live_through(epoch)) is None:
                epoch += 1
                await asyncio.sleep(self._backoff_seconds())
            self._client.gave_up(cause)
        except Exception as error:
            logger.exception("The engine's supervisor failed.")
            self._client.gave_up(f"The engine's supervisor failed: {type(error).__name__}: {error}")

    def _backoff_seconds(self) -> float:
        if self._num_failures == 0:
            return 0.0
        doubled = self._limits.first_backoff_seconds * float(2 ** (self._num_failures - 1))
        return min(doubled, self._limits.max_backoff_seconds)

    async def _live_through(self, epoch: int) -> str | None:
        """Start an engine and wait for its death. Returns why there must not be another one, or None."""
        try:
            child = EngineChild.spawn(
                self._command, epoch, self._config.max_num_seqs, niceness=self._niceness
            )
        except OSError as error:
            self._num_failures += 1
            return self._reason_to_give_up(None, f"could not be started: {error}")
        life = EngineLife(child, self._client, self._limits, self._is_ready)
        try:
            death, description = await life.live(Start(self._config_of_next(), self._environment))
        finally:
            await child.end()
        if life.start_failure is None:  # its sentence is the user's, and enough
            logger.warning("Engine %d (process %d) %s.", epoch, child.pid, description)
        has_found_the_cause = self._client.engine_died(death)
        is_failure = not has_found_the_cause and not life.was_useful(death.cause)
        self._num_failures = self._num_failures + 1 if is_failure else 0
        return self._reason_to_give_up(life.start_failure, description)

    def _config_of_next(self) -> EngineConfig:
        """A successor gets as many KV blocks as the first had, whatever memory is free by then."""
        if not self._is_ready.is_set():
            return self._config
        kv_cache_memory = self._client.info.kv_cache_memory or self._config.kv_cache_memory
        return dataclasses.replace(self._config, kv_cache_memory=kv_cache_memory)

    def _reason_to_give_up(self, failure: StartFailure | None, description: str) -> str | None:
        if failure is not None and failure.is_final and not self._is_ready.is_set():
            return failure.message
        if self._num_failures < self._limits.max_failures:
            return None
        reason = failure.message if failure is not None else f"The last engine {description}."
        return f"{reason} The engine failed {self._num_failures} times in a row and is not started again."


class EngineLife:
    """One engine process from its first frame to its death."""

    def __init__(
        self,
        child: EngineChild,
        client: EngineClient,
        limits: SupervisorLimits,
        is_ready: asyncio.Event,
    ) -> None:
        self.start_failure: StartFailure | None = None
        self._child = child
        self._client = client
        self._limits = limits
        self._is_ready = is_ready
        self._has_started = False
        self._num_frames_before = client.num_frames
        self._connection = EngineConnection(self._on_message)

    def was_useful(self, cause: DeathCause) -> bool:
        """It computed something, or its end was not its own doing."""
        is_from_outside = cause in (DeathCause.KILLED, DeathCause.STOPPED)
        return self._client.num_frames > self._num_frames_before or (self._has_started and is_from_outside)

    async def live(self, start: Start) -> tuple[Death, str]:
        """Returns how the engine died, and the same as the end of a sentence. The process is dead, then."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._connection, sock=self._child.socket)
        self._connection.send(start)
        try:
            hang = await self._watch()
            code = await self._exit_code()
        finally:
            self._connection.close()
        return self._judge(hang, code)

    def _on_message(self, message: EngineMessage) -> None:
        if isinstance(message, StepFrame):
            self._client.receive(message)
        elif isinstance(message, Ready):
            self._has_started = True
            self._client.engine_started(message, self._connection.send)
            self._is_ready.set()
        else:
            self.start_failure = message

    async def _watch(self) -> DeathCause | None:
        """Wait until the engine ends. Returns HANG or STOPPED if it had to be killed for want of progress."""
        interval = self._limits.look_interval_seconds
        loading = ProgressWatch(self._limits.start_deadline_seconds, interval)
        stepping = ProgressWatch(self._limits.step_deadline_seconds, interval)
        cpu_share = CpuShare(self._child.pid)
        ends: set[asyncio.Future[Any]] = {self._connection.closed, self._child.exit_code}
        while not (await asyncio.wait(ends, timeout=interval, return_when=asyncio.FIRST_COMPLETED))[0]:
            mark = (self._client.num_frames, self._child.journal.step_id)
            is_loading = not self._has_started
            is_waited_for = self._child.is_stopped if is_loading else self._client.is_working
            share = cpu_share.since_last()
            if stepping.is_hung(is_waited_for, mark, share) or loading.is_hung(is_loading, None, share):
                return await self._kill_hung()
        return None

    async def _kill_hung(self) -> DeathCause:
        cause = DeathCause.STOPPED if self._child.is_stopped else DeathCause.HANG
        if cause is DeathCause.HANG:
            self._child.print_stacks()
            await asyncio.sleep(self._limits.stack_dump_seconds)
        self._child.kill()
        return cause

    async def _exit_code(self) -> int | None:
        """The process's own, once all its frames are read; None if it would not end by itself."""
        code: int | None = None
        ends: set[asyncio.Future[Any]] = {self._connection.closed, self._child.exit_code}
        if self._connection.fault is None:
            await asyncio.wait(ends, timeout=self._limits.exit_seconds)
            code = self._child.exit_code.result() if self._child.exit_code.done() else None
        self._child.kill()
        await asyncio.wait({self._child.exit_code})
        return code

    def _judge(self, hang: DeathCause | None, code: int | None) -> tuple[Death, str]:
        fault = self._connection.fault
        running_step = self._child.journal.running_step()
        if fault is not None:
            return Death(DeathCause.FAULT, fault.step), f"was replaced: {fault}"
        if hang is not None:
            return Death(hang, running_step), hang.value
        if code is None:
            return Death(DeathCause.CRASH, running_step), "closed its socket without exiting"
        if code >= 0:
            return Death(DeathCause.CRASH, running_step), f"exited with code {code}"
        cause = DeathCause.CRASH if -code in OWN_SIGNALS else DeathCause.KILLED
        return Death(cause, running_step), f"{cause.value} by signal {-code} ({signal.strsignal(-code)})"
