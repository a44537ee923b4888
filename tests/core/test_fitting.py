"""What does not fit a terminal is cut between words."""

import io

import pytest

from octavo.core.fitting import fitted

TEXT = "ready\n  memory    weights of 100 MiB, workspace of 5 MiB, Python of 40 MiB"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, TEXT),
        (
            60,
            "ready\n  memory    weights of 100 MiB, workspace of 5 MiB, Python\n            of 40 MiB",
        ),
        (
            10,  # no narrower than what can be read
            "ready\n  memory    weights of 100 MiB, workspace\n            of 5 MiB, Python of 40 MiB",
        ),
    ],
)
def test_lines_go_on_behind_an_indent(columns: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert fitted(TEXT, 12, Terminal()) == expected


def test_an_address_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "http://a-host-with-a-long-name.example.com:8000/v1"
    assert address in fitted(f"ready: {address}", 2, Terminal())


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert fitted(TEXT, 12, io.StringIO()) == TEXT
