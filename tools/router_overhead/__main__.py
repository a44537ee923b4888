"""What a router adds: delay and CPU time, beside no router, nginx, and LiteLLM. Engines cost next to nothing.

.venv/bin/python -m tools.router_overhead [--litellm PATH]
Delays are those added to no router's. CPU is the router's: for a request where nothing else comes, for an
event with its share of what streams cost to begin and to end, for a request where they come as fast as they
are answered; then, while streams are under way, for an event, and for a request beside them, which is what
both cost more than the streams beside a client that hardly asks; and for 1,000 tokens of prompt more. The
router under test has a core of its own; client and engines share the next one, or have one each. LiteLLM
wants an environment of its own: python -m venv V, V/bin/pip install 'litellm[proxy]', then --litellm
V/bin/litellm.
"""

import argparse
import contextlib
import dataclasses
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from tools.router_overhead.engine import EVENTS_PER_SECOND, NUM_EVENTS
from tools.router_overhead.load import Found
from tools.router_overhead.proxies import NotReadyError, Proxy, Running, free_port, proxies

Result = TypeVar("Result")
LONG, SHORT = 16_000, 200  # characters of a prompt: 4,000 tokens and 50
NUM_ENGINES = 2
LIGHT = 25  # times less load, for who cannot bear it all
BEGIN_SECONDS = 2.5  # until all streams are under way: the client's start and load.START_SECONDS
STEADY_SECONDS = BESIDE_SECONDS = 5.0  # of them alone, and with requests beside them
LONG_STREAM = int(EVENTS_PER_SECOND * (BEGIN_SECONDS + STEADY_SECONDS + 2 * BESIDE_SECONDS + 3))  # events
FEW = 1.0  # requests a second: a client that is there and asks for next to nothing


@dataclasses.dataclass(frozen=True)
class Cores:
    router: int
    client: int
    engines: int

    @classmethod
    def here(cls) -> "Cores":
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1 % len(cores)], cores[2 % len(cores)] if len(cores) > 2 else cores[-1])


@dataclasses.dataclass(frozen=True)
class Row:
    """Of one kind of load: what came of it, and the router's CPU seconds for it."""

    found: Found
    cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Rows:
    """saturated: short requests, as many as are answered. event_seconds: CPU for one, between the streams'
    beginnings and ends; NaN: not all events came. beside: short requests meanwhile. long: with 4,000 tokens;
    None: no router's."""

    short: Row
    streams: Row
    saturated: Row
    event_seconds: float
    beside: Row
    long: Row | None


class Bench:
    def __init__(self, options: argparse.Namespace, folder: pathlib.Path) -> None:
        self._options = options
        self._folder = folder
        self._cores = Cores.here()
        self._engines = [free_port() for _ in range(NUM_ENGINES)]

    @contextlib.contextmanager
    def engines(self) -> Iterator[None]:
        command = [sys.executable, "-m", "tools.router_overhead.engine", *map(str, self._engines)]
        if self._options.no_channels:
            command.append("--no-channels")
        running = Running(command, self._cores.engines)
        try:
            for port in self._engines:
                running.wait(f"http://127.0.0.1:{port}/readyz")
            yield
        finally:
            running.stop()

    def describe(self) -> None:
        cores, options = self._cores, self._options
        print(
            f"router on core {cores.router}, client on {cores.client}, {NUM_ENGINES} engines in one process "
            f"on {cores.engines}\n{options.rate:g} requests/s for {options.seconds:g} s; "
            f"{options.streams} streams of {EVENTS_PER_SECOND:g} events/s for "
            f"{NUM_EVENTS / EVENTS_PER_SECOND:g} s; "
            f"{options.connections} connections of requests as they are answered; "
            f"LiteLLM gets a 25th of the others; load average {os.getloadavg()[0]:.2f} at the start"
        )

    def direct(self) -> Rows:
        port = self._engines[0]
        return Rows(
            self._short(port, None, 1, SHORT),
            self._streams(port, None, 1),
            self._saturated(port, None),
            *self._together(port, None, 1),
            None,
        )

    def through(self, proxy: Proxy) -> Rows:
        folder = self._folder / proxy.name.replace(" ", "-")
        folder.mkdir()
        port = free_port()
        command = proxy.command(port, self._engines, folder)
        running = Running(command, self._cores.router, dict(proxy.environment))
        share = LIGHT if proxy.is_light else 1
        try:
            running.wait(f"http://127.0.0.1:{port}{proxy.ready_path}")
            self._load(port, "--rate", str(self._options.rate / share), "--seconds", "2")  # warm
            return Rows(
                self._short(port, running, share, SHORT),
                self._streams(port, running, share),
                self._saturated(port, running),
                *self._together(port, running, share),
                self._short(port, running, 2 * share, LONG),
            )
        finally:
            running.stop()

    def _short(self, port: int, running: Running | None, share: int, num_characters: int) -> Row:
        rate = self._options.rate / share
        return self._measured(
            port, running,
            "--rate", str(rate), "--seconds", str(self._options.seconds), "--characters", str(num_characters),
        )  # fmt: skip

    def _saturated(self, port: int, running: Running | None) -> Row:
        options = self._options
        return self._measured(
            port, running, "--connections", str(options.connections), "--seconds", str(options.seconds),
        )  # fmt: skip

    def _streams(self, port: int, running: Running | None, share: int) -> Row:
        return self._measured(port, running, "--streams", str(self._num_streams(share)))

    def _num_streams(self, share: int) -> int:
        return max(1, self._options.streams // share)

    def _together(self, port: int, running: Running | None, share: int) -> tuple[float, Row]:
        """CPU for an event while streams are under way (NaN: some were lost); for requests beside them.

        A client with a clock of its own disturbs those it shares a core with, and so cuts what they send into
        smaller pieces: what the streams take beside it is measured with one that asks for next to nothing."""
        count, rate = self._num_streams(share), self._options.rate / share
        streams = self._begin_load(port, "--streams", str(count), "--events", str(LONG_STREAM))
        time.sleep(BEGIN_SECONDS)
        _, steady, seconds = self._watched(running, lambda: time.sleep(STEADY_SECONDS))
        event_seconds = steady / seconds / (count * EVENTS_PER_SECOND)
        _, few, few_seconds = self._watched(running, lambda: self._beside(port, FEW))
        found, both, both_seconds = self._watched(running, lambda: self._beside(port, rate))
        streamed = _end_load(streams)
        is_whole = streamed.num_delays == count * LONG_STREAM
        return event_seconds if is_whole else math.nan, Row(found, both - few / few_seconds * both_seconds)

    def _beside(self, port: int, rate: float) -> Found:
        return self._load(port, "--rate", str(rate), "--seconds", str(BESIDE_SECONDS))

    def _measured(self, port: int, running: Running | None, *arguments: str) -> Row:
        found, cpu_seconds, _ = self._watched(running, lambda: self._load(port, *arguments))
        return Row(found, cpu_seconds)

    def _watched(self, running: Running | None, do: Callable[[], Result]) -> tuple[Result, float, float]:
        """What it returns, the CPU seconds that running took meanwhile, and seconds."""
        start, before = time.monotonic(), running.cpu_seconds() if running else 0.0
        result = do()
        after = running.cpu_seconds() if running else 0.0
        return result, after - before, time.monotonic() - start

    def _load(self, port: int, *arguments: str) -> Found:
        return _end_load(self._begin_load(port, *arguments))

    def _begin_load(self, port: int, *arguments: str) -> "subprocess.Popen[bytes]":
        gap = ("--gap", str(self._options.gap))
        command = [sys.executable, "-m", "tools.router_overhead.load", str(port), *gap, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        os.sched_setaffinity(process.pid, {self._cores.client})
        return process


def _end_load(process: "subprocess.Popen[bytes]") -> Found:
    output, _ = process.communicate()
    return msgspec.json.decode(output, type=Found)


HEADING = (
    f"{'':25} {'requests':>15} {'p50':>9} {'p99':>9} {'CPU':>7}  "
    f" {'events':>15} {'p50':>9} {'p99':>9} {'CPU':>8}   {'requests/s':>10} {'CPU':>7}  "
    f" {'event':>8}   {'requests beside':>15} {'p50':>9} {'p99':>9} {'CPU':>7}   {'1,000 tokens':>12}"
)


def line(name: str, rows: Rows, direct: Rows | None) -> str:
    """Delays are those added to direct's."""
    events, saturated = rows.streams.found, rows.saturated.found
    per_event = 1e6 * rows.streams.cpu_seconds / max(1, events.num_delays)
    cells = [
        f"{name:25}",
        *request_cells(rows.short, direct and direct.short),
        f"{events.num_delays:>7} {events.num_answered:>3}/{events.num_asked:<3}",
        *delay_cells(events, direct and direct.streams.found),
        f"{per_event:5.1f} us  ",
        f"{saturated.num_answered / saturated.seconds:9.0f}",
        f"{microseconds(rows.saturated):5.0f} us  ",
        f"{1e6 * rows.event_seconds:5.1f} us  ",
        *request_cells(rows.beside, direct and direct.beside),
    ]
    if rows.long is not None:
        more = microseconds(rows.long) - microseconds(rows.short)
        cells.append(f"{1000 * more / ((LONG - SHORT) / 4):9.1f} us")
    return " ".join(cells)


def request_cells(row: Row, floor: Row | None) -> list[str]:
    requests = row.found
    return [
        f"{requests.num_answered:>7}/{requests.num_asked:<7}",
        *delay_cells(requests, floor and floor.found),
        f"{microseconds(row):5.0f} us  ",
    ]


def microseconds(row: Row) -> float:
    """Of CPU, for a request."""
    return 1e6 * row.cpu_seconds / max(1, row.found.num_answered)


def delay_cells(found: Found, floor: Found | None) -> list[str]:
    return [milliseconds(found.delays, floor and floor.delays, which) for which in ("p50", "p99")]


def milliseconds(delays: object, floor: object | None, which: str) -> str:
    seconds = getattr(delays, which) - (getattr(floor, which) if floor else 0.0)
    return f"{1000 * seconds:{'+' if floor else ''}7.2f}ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0, help="short requests per second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of them")
    parser.add_argument("--streams", type=int, default=256, help="at once")
    parser.add_argument("--connections", type=int, default=32, help="of requests that come at once")
    parser.add_argument("--gap", type=float, default=0.0, help="us between head and body; 0: in one packet")
    parser.add_argument("--litellm", metavar="PATH", help="LiteLLM's executable; a tenth of the load")
    parser.add_argument("--no-channels", action="store_true", help="each stream on a connection of its own")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="nginx, octavo route, LiteLLM ...")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="octavo-overhead-") as folder:
        bench = Bench(options, pathlib.Path(folder))
        bench.describe()
        with bench.engines():
            print(HEADING)
            direct = bench.direct()
            print(line("no router", direct, None), flush=True)
            for proxy in proxies(options.litellm):
                if options.only and proxy.name not in options.only:
                    continue
                try:
                    text = proxy.missing or line(proxy.name, bench.through(proxy), direct)
                except NotReadyError as error:
                    text = str(error)
                print(text if text.startswith(proxy.name) else f"{proxy.name:25} {text}", flush=True)


if __name__ == "__main__":
    main()
