"""Engines side by side: all loaded, one running at a time, cell after cell."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from octavo.bench.answer import Record
from octavo.bench.client import BaseUrl, Client
from octavo.bench.load import FixedConcurrency
from octavo.bench.peers.cells import Cell, CellFile, Key, in_turns
from octavo.bench.peers.installation import install
from octavo.bench.peers.peer import Peer, Place, Serving
from octavo.bench.peers.server import Server
from octavo.bench.result import Result
from octavo.bench.sender import Sender, first_model
from octavo.bench.summary import Targets, summarize
from octavo.bench.sweep import Progress, Step, Sweep
from octavo.bench.workload import Length, RandomWorkload, Request
from octavo.core.errors import StartError

READY_SECONDS = 600.0
REQUEST_SECONDS = 600.0
IDLE_SECONDS = 1.0  # that an engine has after a start, and after a burst, for what it does when nobody asks
T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine to its end."""

    def __call__(self, main: Coroutine[Any, Any, T]) -> T: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """What to measure. seed: of the prompts, which are the same for every engine and new in every cell."""

    peers: Sequence[Peer]
    gguf: pathlib.Path
    checkpoint: pathlib.Path | None
    concurrencies: Sequence[int]
    input_tokens: int
    output_tokens: int
    num_runs: int
    threads: int
    seed: int

    def check(self) -> None:
        """Raises StartError."""
        for peer in self.peers:
            if peer.needs_checkpoint and self.checkpoint is None:
                raise StartError(f"{peer.name} reads a checkpoint; --checkpoint names its folder.")

    def cells(self) -> Iterator[Key]:
        return in_turns([peer.name for peer in self.peers], self.concurrencies, self.num_runs)


@dataclasses.dataclass(slots=True)
class Loaded:
    server: Server
    start_seconds: float


class Runner:
    """free_port: a port nobody listens on. say: a line for the user."""

    def __init__(
        self,
        comparison: Comparison,
        folder: pathlib.Path,
        root: pathlib.Path,
        *,
        run: Run,
        free_port: Callable[[], int],
        say: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self._comparison = comparison
        self._folder = folder  # of logs
        self._root = root  # of installations
        self._run = run
        self._free_port = free_port
        self._say = say
        self._progress = progress
        self._places: dict[str, Place] = {}
        self._loaded: dict[str, Loaded] = {}
        self._peers = {peer.name: peer for peer in comparison.peers}

    def measure(self, file: CellFile) -> None:
        """Every cell that is not there yet. Raises StartError; cells that were measured are kept."""
        missing = [key for key in self._comparison.cells() if key not in file.cells]
        wanted = {key.engine for key in missing}
        for name in self._peers:
            if name in wanted:
                self._places[name] = install(self._peers[name], self._root, self._say)
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_all)
            for number, key in enumerate(missing, 1):
                what = f"{key.engine}, {key.concurrency} at once, run {key.run + 1}"
                self._say(f"cell {number} of {len(missing)}: {what}")
                file.add(Cell(key.engine, key.concurrency, key.run, self._measure_one(key)))

    def _measure_one(self, key: Key) -> Result:
        loaded = self._server_of(key.engine)
        loaded.server.resume()
        try:
            result = self._run(self._burst(key, loaded.server))
            result.start_seconds = loaded.start_seconds
            result.peak_memory_bytes = loaded.server.memory_bytes()
            time.sleep(IDLE_SECONDS)
        finally:
            loaded.server.pause()
        self._complain(key.engine, result)
        return result

    def _complain(self, engine: str, result: Result) -> None:
        """Of what makes a cell worth less than it looks."""
        assert result.serving is not None
        for reason, count in result.serving.failures.items():
            self._say(f"{engine}: {count} requests failed: {reason}")
        if result.serving.void is not None:
            self._say(f"{engine}: void, {result.serving.void}")

    def _server_of(self, name: str) -> Loaded:
        """Started when first wanted, and again when it has died; ready, with a first token computed."""
        loaded = self._loaded.get(name)
        if loaded is not None and loaded.server.is_alive:
            return loaded
        peer, comparison = self._peers[name], self._comparison
        self._say(f"{name}: starting ...")
        port = self._free_port()
        serving = Serving(
            gguf=comparison.gguf,
            checkpoint=comparison.checkpoint,
            port=port,
            threads=comparison.threads,
            max_concurrency=max(comparison.concurrencies),
            max_tokens=comparison.input_tokens + comparison.output_tokens,
        )
        command = peer.start(self._places[name], serving)
        server = Server(name, command, port, self._folder / f"{name}.log")
        self._loaded[name] = Loaded(server, 0.0)
        server.wait_until_ready(peer.ready_path, READY_SECONDS)
        self._run(self._first_token(server))
        self._loaded[name] = Loaded(server, time.perf_counter() - server.started)
        time.sleep(IDLE_SECONDS)
        return self._loaded[name]

    async def _first_token(self, server: Server) -> None:
        async with _sender(server) as sender:
            record = Record(0.0)
            await sender.send(Request([1000, 2000], 1), record)
            if record.failure is not None:
                raise StartError(f"{server.name} does not answer a first request: {record.failure}.")

    async def _burst(self, key: Key, server: Server) -> Result:
        comparison = self._comparison
        input_tokens = Length(comparison.input_tokens, comparison.input_tokens)
        output_tokens = Length(comparison.output_tokens, comparison.output_tokens)
        seed = comparison.seed + 1_000_000 * key.run + 1_000 * key.concurrency
        async with _sender(server) as sender:
            sweep = Sweep(
                key.engine,
                sender.send,
                lambda seed: RandomWorkload("tokens", input_tokens, output_tokens, seed),
                seed,
                sender.clock,
                self._progress,
            )
            name = f"{key.engine}, {key.concurrency} at once"
            load = Step(name, FixedConcurrency(key.concurrency), None, key.concurrency)
            return summarize(await sweep.run(0, load), Targets())

    def _stop_all(self) -> None:
        for loaded in self._loaded.values():
            loaded.server.stop()


@contextlib.asynccontextmanager
async def _sender(server: Server) -> AsyncIterator[Sender]:
    client = Client(BaseUrl(server.url), None, time.perf_counter)
    with contextlib.closing(client):
        model = await first_model(client)
        yield Sender(client, model, "completions", True, REQUEST_SECONDS, time.perf_counter)
