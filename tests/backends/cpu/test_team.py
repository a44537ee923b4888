"""The threads that compute: every item once, no phase before the one ahead of it, whoever is run when."""

import pytest

from octavo.backends.cpu.library import load_library


@pytest.mark.parametrize("num_threads", (1, 2, 3, 8))
def test_items_are_run_once_and_phases_in_order(num_threads: int) -> None:
    """More threads than cores: some are not run for long, and come back when their phase is over."""
    assert load_library().octavo_test_teams(num_threads, 1, 4_000) == 0


@pytest.mark.parametrize("num_threads", (2, 3, 8))
def test_teams_begin_and_end(num_threads: int) -> None:
    """A worker may be anywhere when its team ends, still on its way to its first job, too."""
    assert load_library().octavo_test_teams(num_threads, 1_000, 0) == 0
    assert load_library().octavo_test_teams(num_threads, 1_000, 1) == 0


@pytest.mark.parametrize(
    ("num_sleepers", "num_wakers", "count", "rounds"),
    [(1, 1, 200_000, 5), (1, 3, 300, 500), (3, 3, 2_000, 50)],
)
def test_nobody_sleeps_on(num_sleepers: int, num_wakers: int, count: int, rounds: int) -> None:
    """Whoever is about to sleep while somebody else is being woken is woken by the next."""
    assert load_library().octavo_test_events(num_sleepers, num_wakers, count, rounds) == 0
