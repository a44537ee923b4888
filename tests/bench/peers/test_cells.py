"""The cells of a comparison: their order, their file, and what they say together."""

import pathlib

import pytest

from octavo.bench.peers.cells import Cell, CellFile, Key, Settings, in_turns, merged
from octavo.bench.percentiles import Percentiles
from octavo.core.errors import StartError
from tests.bench.samples import sample_result, sample_serving

SETTINGS = Settings("tiny", 128, 64, 2, "one of a test")


def cell(run: int = 0, engine: str = "a", rate: float = 100.0) -> Cell:
    result = sample_result(engine=engine, output_tokens_per_second=rate, serving=sample_serving())
    return Cell(engine, 8, run, result)


def test_engines_alternate_within_loads_and_loads_within_runs() -> None:
    assert list(in_turns(["a", "b"], [1, 8], 2)) == [
        Key("a", 1, 0), Key("b", 1, 0), Key("a", 8, 0), Key("b", 8, 0),
        Key("a", 1, 1), Key("b", 1, 1), Key("a", 8, 1), Key("b", 8, 1),
    ]  # fmt: skip


def test_cells_are_there_again_after_an_interruption(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out" / "cells.jsonl"
    first = CellFile(path, SETTINGS)
    first.add(cell(0))
    first.add(cell(1))
    assert CellFile(path, SETTINGS).cells == {Key("a", 8, 0): cell(0), Key("a", 8, 1): cell(1)}


def test_a_line_that_was_being_written_is_dropped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cells.jsonl"
    CellFile(path, SETTINGS).add(cell(0))
    with path.open("ab") as file:
        file.write(b'{"engine":"a","conc')
    again = CellFile(path, SETTINGS)
    again.add(cell(1))
    assert list(CellFile(path, SETTINGS).cells) == [Key("a", 8, 0), Key("a", 8, 1)]


def test_other_settings_are_another_comparison(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cells.jsonl"
    CellFile(path, SETTINGS)
    with pytest.raises(StartError, match=r"was made with other settings .* --out names another folder"):
        CellFile(path, Settings("tiny", 128, 65, 2, "one of a test"))
    path.write_text("something else\n")
    with pytest.raises(StartError, match="holds no cells of a comparison"):
        CellFile(path, SETTINGS)


def test_runs_are_merged_by_medians() -> None:
    runs = [
        sample_result(
            output_tokens_per_second=rate, ttft_seconds=Percentiles(p50=p50, p99=2 * p50),
            start_seconds=start, peak_memory_bytes=peak, num_requests=8,
        )
        for rate, p50, start, peak in [(100, 1, 5, 10), (300, 9, 4, 30), (200, 2, 6, 20)]
    ]  # fmt: skip
    result = merged(runs)
    assert result.output_tokens_per_second == 200 and result.runs == [100, 300, 200]
    assert (result.ttft_seconds.p50, result.ttft_seconds.p99) == (2, 4)
    assert (result.start_seconds, result.peak_memory_bytes, result.num_requests) == (4, 30, 24)


def test_what_was_not_measured_stays_unsaid() -> None:
    result = merged([sample_result(start_seconds=None, peak_memory_bytes=None)])
    assert (result.start_seconds, result.peak_memory_bytes) == (None, None)


def test_results_are_in_the_order_of_the_engines(tmp_path: pathlib.Path) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    for run, engine in enumerate(["b", "a", "a"]):
        file.add(cell(run, engine))
    assert [(r.engine, len(r.runs)) for r in file.results(["a", "b", "c"], [8, 9])] == [("a", 2), ("b", 1)]


def test_failures_are_added_up_over_runs(tmp_path: pathlib.Path) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    for run, count in enumerate([0, 2, 3]):
        file.add(Cell("a", 8, run, sample_result(serving=sample_serving(num_failed=count))))
    file.add(cell(0, "b"))
    assert file.num_failed() == {("a", 8): 5}
