import os
import signal
from collections.abc import Callable

import pytest

from octavo.cli.line_reader import LineReader

Typed = str | type[BaseException]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str | None, list[str]]]:
    """read(*typed) -> the message, and what was said; typed: lines, EOFError, or text that ends in ^C."""

    def run(*typed: Typed) -> tuple[str | None, list[str]]:
        lines, said, buffer = list(typed), [], [""]

        def fake_input(prompt: str) -> str:
            line = lines.pop(0)
            if isinstance(line, type):
                raise line
            if line.endswith("^C"):
                buffer[0] = line.removesuffix("^C")
                os.kill(os.getpid(), signal.SIGINT)
            return line

        monkeypatch.setattr("builtins.input", fake_input)
        monkeypatch.setattr("readline.get_line_buffer", lambda: buffer[0])
        before = signal.getsignal(signal.SIGINT)
        message = LineReader(said.append).read()
        assert signal.getsignal(signal.SIGINT) is before and lines == []
        return message, said

    return run


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["  hello "], "hello"),
        (['"""one', "two", 'three"""'], "one\ntwo\nthree"),
        (['"""one"""'], "one"),
        (['"""', " one", '"""  '], "one"),
        ([""], ""),
        ([EOFError], None),
    ],
)
def test_messages(typed: list[Typed], message: str | None, read: Callable[..., object]) -> None:
    assert read(*typed) == (message, [])


def test_ctrl_c_drops_what_was_typed(read: Callable[..., object]) -> None:
    assert read("hel^C", "lo^C", "hello") == ("hello", [])


def test_ctrl_c_twice_on_nothing_leaves(read: Callable[..., object]) -> None:
    assert read("^C", "^C") == (None, ["Ctrl-C again, Ctrl-D or /bye leaves."])
    assert read("^C", "hello") == ("hello", ["Ctrl-C again, Ctrl-D or /bye leaves."])
