from octavo.core.counted import counted


def test_one_is_the_only_number_without_a_plural() -> None:
    assert [counted(count, "thread") for count in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]
