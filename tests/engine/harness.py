"""A client with a real engine process behind it, for the tests of this folder, and a look at the process."""

import contextlib
import os
import pathlib
import sys
from collections.abc import AsyncIterator

from octavo.config import EngineConfig, Environment
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.engine.streams import RequestStream
from octavo.engine.supervisor import EngineSupervisor, SupervisorLimits
from tests.engine import fake_engine

FAKE_ENGINE = pathlib.Path(fake_engine.__file__)
NOWHERE = Environment(home=pathlib.Path("/nowhere"), api_key=None, cpu_isa=None, log_level="info")
PATIENT = SupervisorLimits(first_backoff_seconds=0.001, max_backoff_seconds=0.002)


def command_of(program: pathlib.Path) -> tuple[str, ...]:
    """Runs an engine program of the tests, which may import from them whatever the working directory is."""
    root = str(pathlib.Path(__file__).parents[2])
    launch = f"import runpy, sys; sys.path.insert(0, {root!r}); del sys.argv[0]"
    launch += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    return (sys.executable, "-c", launch, str(program))


@contextlib.asynccontextmanager
async def engine(
    order: str = "work",
    limits: SupervisorLimits = PATIENT,
    program: pathlib.Path = FAKE_ENGINE,
    **config: int,
) -> AsyncIterator[EngineClient]:
    """order is for the fake engine's load; config for EngineConfig."""
    command = (*command_of(program), order)
    client = await EngineSupervisor.start(EngineConfig(**config), NOWHERE, command=command, limits=limits)  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()


def prompt_of(number: int) -> list[int]:
    return [number, 17, 3 * number + 1]


def submit(client: EngineClient, number: int, num_tokens: int, *orders: int) -> RequestStream:
    """Request number, with the fake engine's orders at the end of its prompt."""
    return client.submit(
        prompt_of(number) + list(orders),
        SamplingParams(max_tokens=num_tokens),
        request_id=f"request-{number}",
        seed=number,
    )


def expected(number: int, num_tokens: int) -> list[int]:
    """The fake engine's answer to request number."""
    return fake_engine.answer(prompt_of(number), number, num_tokens)


async def read(stream: RequestStream, num_tokens: int | None = None) -> list[int]:
    """The tokens to the end, or so many at least (those that came meanwhile come together); each at the index
    that follows the one before."""
    tokens: list[int] = []
    async for output in stream:
        assert output.first_index == len(tokens)
        assert output.request_id.startswith(f"{stream.request_id}~")
        tokens += output.token_ids
        if num_tokens is not None and len(tokens) >= num_tokens:
            break
    return tokens


async def read_on(stream: RequestStream) -> list[int]:
    """The tokens that are still to come."""
    return [token async for output in stream for token in output.token_ids]


def children() -> list[int]:
    """Process ids of this process's children, zombies included."""
    pids = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and stat_fields(int(entry.name))[1] == str(os.getpid()):
                pids.append(int(entry.name))
    return pids


def the_engine() -> int:
    [pid] = children()
    return pid


def is_alive(pid: int) -> bool:
    try:
        return stat_fields(pid)[0] != "Z"
    except OSError:
        return False


def stat_fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on: state, parent, ..."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
