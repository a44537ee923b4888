"""The cells of a comparison: in which order, which are there already, and what they say together.

A cell is one burst of one engine. The file grows by a line for each, so an interrupted comparison goes on
where it was.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from octavo.bench.percentiles import Percentiles
from octavo.bench.result import Result, median
from octavo.core.errors import StartError


class Settings(msgspec.Struct, frozen=True):
    """What makes cells comparable: the first line of the file."""

    model: str
    input_tokens: int
    output_tokens: int
    threads: int
    processor: str


class Cell(msgspec.Struct):
    engine: str
    concurrency: int
    run: int
    result: Result


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    engine: str
    concurrency: int
    run: int


def in_turns(engines: Sequence[str], concurrencies: Sequence[int], num_runs: int) -> Iterator[Key]:
    """Engines alternate within a load, and loads within a run: a slow minute hits all of them alike."""
    for run in range(num_runs):
        for concurrency in concurrencies:
            for engine in engines:
                yield Key(engine, concurrency, run)


class CellFile:
    """Raises StartError when the file is another comparison's."""

    def __init__(self, path: pathlib.Path, settings: Settings) -> None:
        self._path = path
        self.cells: dict[Key, Cell] = {}
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.encode(settings) + b"\n")
            return
        head, *lines = path.read_bytes().split(b"\n")
        try:
            found = msgspec.json.decode(head, type=Settings)
        except msgspec.DecodeError:
            raise StartError(f"{path} holds no cells of a comparison; --out names another folder.") from None
        if found != settings:
            raise StartError(f"{path} was made with other settings ({found}); --out names another folder.")
        for line in lines[:-1]:  # what has no line end was being written when it ended
            self._keep(msgspec.json.decode(line, type=Cell))
        path.write_bytes(b"\n".join((head, *lines[:-1], b"")))

    def add(self, cell: Cell) -> None:
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(cell) + b"\n")
        self._keep(cell)

    def results(self, engines: Sequence[str], concurrencies: Sequence[int]) -> list[Result]:
        """One for each engine and load that has any cell, over its runs."""
        found = []
        for engine in engines:
            for concurrency in concurrencies:
                runs = [
                    cell.result
                    for key, cell in self.cells.items()
                    if (key.engine, key.concurrency) == (engine, concurrency)
                ]
                if runs:
                    found.append(merged(runs))
        return found

    def num_failed(self) -> dict[tuple[str, int], int]:
        """Requests that failed, by engine and load, over all runs; only where there were any."""
        counts: collections.Counter[tuple[str, int]] = collections.Counter()
        for key, cell in self.cells.items():
            if cell.result.serving is not None and cell.result.serving.num_failed:
                counts[key.engine, key.concurrency] += cell.result.serving.num_failed
        return dict(counts)

    def _keep(self, cell: Cell) -> None:
        self.cells[Key(cell.engine, cell.concurrency, cell.run)] = cell


def merged(runs: Sequence[Result]) -> Result:
    """Medians over runs, of each percentile too; the most memory; the shortest start."""
    starts = [run.start_seconds for run in runs if run.start_seconds is not None]
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    return Result(
        engine=runs[0].engine,
        concurrency=runs[0].concurrency,
        output_tokens_per_second=median([run.output_tokens_per_second for run in runs]),
        total_tokens_per_second=median([run.total_tokens_per_second for run in runs]),
        ttft_seconds=_medians([run.ttft_seconds for run in runs]),
        itl_seconds=_medians([run.itl_seconds for run in runs]),
        e2e_seconds=_medians([run.e2e_seconds for run in runs]),
        start_seconds=min(starts, default=None),
        peak_memory_bytes=max(peaks, default=None),
        runs=[run.output_tokens_per_second for run in runs],
        num_requests=sum(run.num_requests for run in runs),
    )


def _medians(samples: Sequence[Percentiles]) -> Percentiles:
    values = np.median([msgspec.structs.astuple(sample) for sample in samples], axis=0)
    return Percentiles(*values.tolist())
