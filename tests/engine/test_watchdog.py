from octavo.engine.watchdog import ProgressWatch


def looks(watch: ProgressWatch, *observations: tuple[bool, int]) -> list[bool]:
    return [watch.is_hung(is_working, mark) for is_working, mark in observations]


def test_work_without_progress_for_the_whole_deadline_is_a_hang() -> None:
    watch = ProgressWatch(deadline_seconds=1.0, interval_seconds=0.5)
    assert looks(watch, (True, 1), (True, 1), (True, 1)) == [False, False, True]


def test_any_progress_starts_the_deadline_again() -> None:
    watch = ProgressWatch(deadline_seconds=1.0, interval_seconds=0.5)
    assert looks(watch, (True, 1), (True, 1), (True, 2), (True, 2), (True, 2)) == [False] * 4 + [True]


def test_without_work_nothing_is_owed() -> None:
    watch = ProgressWatch(deadline_seconds=1.0, interval_seconds=0.5)
    assert not any(looks(watch, *[(False, 1)] * 10))
    assert looks(watch, (True, 1), (False, 1), (True, 1), (True, 1)) == [False, False, False, True]


def test_one_look_never_suffices_however_late_it_comes() -> None:
    watch = ProgressWatch(deadline_seconds=0.1, interval_seconds=0.5)
    assert looks(watch, (True, 1), (True, 1), (True, 1)) == [False, False, True]


def test_a_look_counts_as_far_as_the_engine_had_the_processor() -> None:
    watch = ProgressWatch(deadline_seconds=1.0, interval_seconds=0.5)
    shares = [1.0, 0.25, 0.25, 0.5, 1.0]
    assert [watch.is_hung(True, 1, share) for share in shares] == [False, False, False, False, True]
