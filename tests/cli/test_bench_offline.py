"""The options of `octavo bench offline`."""

from collections.abc import Callable

import pytest

from octavo.cli.bench_offline import OfflineOptions, numbers_of
from octavo.core.errors import StartError


def test_several_concurrencies_are_separated_by_commas() -> None:
    assert OfflineOptions(concurrency="1,8,32").concurrencies == (1, 8, 32)


@pytest.mark.parametrize("text", ["", "0", "1,,2", "1,x", "-1", "1.5"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(StartError, match=r"--flag is .* allowed: numbers above 0, separated by commas"):
        numbers_of("--flag", text)


def test_where_results_cannot_be_written_nothing_is_measured(complaint: Callable[..., str]) -> None:
    expected = "octavo: --json /nowhere/x.json cannot be written; is its folder there?"
    assert complaint("offline", "--json", "/nowhere/x.json", command="bench") == expected


@pytest.mark.parametrize("flag", ["--input-tokens", "--output-tokens", "--runs"])
def test_a_count_of_nothing_is_refused(flag: str, complaint: Callable[..., str]) -> None:
    assert complaint("offline", flag, "0", command="bench") == f"octavo: {flag} is 0; allowed: 1 or more."
