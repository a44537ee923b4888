import pytest

from octavo.cli.tables import ago, columns, size, three_digits


def test_columns_are_aligned() -> None:
    rows = [("NAME", "SIZE", "X"), ("a", "10 MiB", "b"), ("long", "1 MiB", "")]
    assert columns(rows, right=(1,)) == ["NAME    SIZE  X", "a     10 MiB  b", "long   1 MiB"]


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (1 << 10, "1 KiB"),
        (98_362_432, "94 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 41, "2,048.0 GiB"),
    ],
)
def test_sizes(num_bytes: int, text: str) -> None:
    assert size(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7300, "2 hours ago"),
        (86400 * 40, "1 month ago"),
        (86400 * 800, "2 years ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (2.614, "2.61"), (26.14, "26.1"), (261.4, "261"), (2614.0, "2,614")]
)
def test_figures_have_three_digits_or_more(value: float, text: str) -> None:
    assert three_digits(value) == text
