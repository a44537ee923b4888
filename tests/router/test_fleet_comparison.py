"""What the comparison of policies says: its tables, and that what it keeps is what it found."""

import pytest

from tools.fleet_simulation import tables
from tools.fleet_simulation.__main__ import Job, kept, run
from tools.fleet_simulation.fleet import Figures

JOB: Job = ("shared prefixes", "cost", 2, 10, 3, True)


def figures(*seconds: float) -> Figures:
    return Figures(
        list(seconds), num_prompt_tokens=100, num_cached_tokens=25, num_output_tokens=64, end_seconds=2
    )


def compared(ours: float, round_robin: float, best: float) -> tables.Compared:
    rows = {"cost": ours, "round-robin": round_robin, "other": best}
    return {policy: [figures(value), figures(2 * value)] for policy, value in rows.items()}


def test_a_result_is_kept_and_not_found_again(tmp_path) -> None:
    found = kept(tmp_path, JOB)
    assert found == run(JOB)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace(str(found.num_output_tokens), "7"))
    assert kept(tmp_path, JOB).num_output_tokens == 7
    assert kept(None, JOB).num_output_tokens == found.num_output_tokens


def test_ours_is_compared_in_pairs_with_the_best_and_with_round_robin() -> None:
    lines = list(tables.beside_others({4: {"unique": compared(1.1, 2.2, 1.0)}}))
    assert lines[0] == "| replicas, seconds | unique |" and lines[1] == "|---|---|"
    assert lines[2] == "| 4, p50 beside the best | +10.0 ± 0.0 % (other) |"
    assert lines[3] == "| 4, p50 beside `round-robin` | -50.0 ± 0.0 % |"
    assert lines[6:8] == [lines[2].replace("p50", "mean"), lines[3].replace("p50", "mean")]
    assert lines[9:] == ["| 4, last answer beside `round-robin` | +0.0 ± 0.0 % |"]


def test_ours_is_not_the_best_of_the_others() -> None:
    assert tables.best_of_others(compared(0.5, 2.0, 1.0), lambda one: one.p50) == "other"


def test_tables_have_a_row_for_each_policy_and_a_column_for_each_workload() -> None:
    by_workload = {"unique": compared(1.0, 2.0, 3.0), "bursts": compared(4.0, 5.0, 6.0)}
    first = list(tables.first_tokens(by_workload))
    assert first[0] == "| policy | unique | bursts |"
    assert first[2] == "| cost | 1.50 ± 0.50 / 1.50 ± 0.50 | 6.00 ± 2.00 / 6.00 ± 2.00 |"
    assert list(tables.hits_and_speed(by_workload))[3] == "| round-robin | 25.0%, 32 | 25.0%, 32 |"


@pytest.mark.parametrize(
    ("values", "said"),
    [([0.0123], "0.0123"), ([123.4, 125.4], "124 ± 1"), ([0.0, 0.0], "0.000 ± 0.000"), ([9.996], "10.00")],
)
def test_figures_have_three_digits(values: list[float], said: str) -> None:
    assert tables.with_error(values) == said
