"""What `--help` prints: aligned columns, wrapped once, defaults that say something."""

import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Annotated

import cyclopts
import pytest

from octavo.cli.help import MAX_WIDTH, ColumnFormatter, columns

Page = Callable[[int], list[str]]


@dataclasses.dataclass(frozen=True)
class Flags:
    port: int = 8000
    """Port to listen on; of the many there are, one that nobody else listens on [1 to 65535]."""
    name: tuple[str, ...] = ()
    """A name."""
    reuse: bool = True
    """Reuse."""
    verbose: bool = False
    """Say more."""
    api_key: str | None = None
    """A key."""
    seconds: float = 1.5
    """A time."""


def command(
    model: str = "tiny",
    /,
    *,
    size: Annotated[int, cyclopts.Parameter(metavar="SIZE")],
    config: pathlib.Path | None = None,
    flags: Annotated[Flags, cyclopts.Parameter(name="*", negative_iterable=())] = Flags(),
) -> None:
    """Do it.

    Parameters
    ----------
    model
        A model.
    size
        A size.
    config
        A file.
    """


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Page:
    """page(width) -> the lines of the command's help."""

    def show(width: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        app = cyclopts.App(
            name="tool",
            help_format="plaintext",
            help_formatter=ColumnFormatter(),
            result_action="return_value",
        )
        app.default(command)
        app(["--help"])
        return capsys.readouterr().out.splitlines()

    return show


def text_of(page: list[str], label: str) -> str:
    [line] = [line for line in page if line.startswith(f"  {label}  ")]
    return line.removeprefix(f"  {label}").strip()


def test_entries_say_what_they_take_and_defaults_that_mean_something(page: Page) -> None:
    lines = page(200)
    assert lines[0].startswith("Usage: tool ")
    assert text_of(lines, "MODEL") == "A model. [default: tiny]"
    assert text_of(lines, "--size SIZE") == "A size. [required]"
    assert text_of(lines, "--config PATH") == "A file."
    assert text_of(lines, "--name NAME") == "A name."
    assert text_of(lines, "--[no-]reuse") == "Reuse. [default: on]"
    assert text_of(lines, "--[no-]verbose") == "Say more."
    assert text_of(lines, "--api-key KEY") == "A key."
    assert text_of(lines, "--seconds N") == "A time. [default: 1.5]"
    assert text_of(lines, "--help, -h") == "Display this message and exit."


@pytest.mark.parametrize("width", (60, 80, 120, 1000))
def test_texts_are_aligned_and_within_the_width(page: Page, width: int) -> None:
    lines = page(width)
    assert max(map(len, lines)) <= min(width, MAX_WIDTH)
    rows = [line for line in lines if line.startswith(("  --name NAME ", "  --seconds N "))]
    assert len({re.match("  -.*?  +", row).end() for row in rows}) == 1


def test_lines_are_wrapped_once_and_a_default_is_never_cut(page: Page) -> None:
    lines = page(60)
    first = next(index for index, line in enumerate(lines) if line.startswith("  --port N "))
    last = next(index for index, line in enumerate(lines) if "[default: 8000]" in line)
    text = " ".join(line.strip() for line in lines[first : last + 1])
    assert text.removeprefix("--port N").strip() == (
        "Port to listen on; of the many there are, one that nobody else listens on [1 to 65535]. "
        "[default: 8000]"
    )
    assert all(line.startswith(" " * 10) for line in lines[first + 1 : last + 1])


def test_a_long_label_has_a_line_to_itself() -> None:
    label = "--" + "x" * 40
    assert columns([("--a", "One."), (label, "Two two."), ("--b", "")], width=60) == [
        "  --a  One.",
        f"  {label}",
        "       Two two.",
        "  --b",
    ]
