"""How `--help` looks: two aligned columns, wrapped to the terminal's width, as git and uv print theirs.

Knows cyclopts' help entries, no option by name.
"""

import re
import textwrap

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions, RenderableType

INDENT = 2
GAP = 2  # spaces between the columns
MAX_LABEL_WIDTH = 32  # a longer label has a line to itself
MAX_WIDTH = 120  # longer lines are hard to read
SILENT_DEFAULTS = ("None", "False", "()")
UNWRAPPED_WIDTH = 1 << 16
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


class ColumnFormatter:
    """A cyclopts HelpFormatter."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        rows = [(label_of(entry), text_of(entry, console)) for entry in panel.entries]
        if not rows:
            return
        lines = [f"{_plain(panel.title, console)}:", *columns(rows, width=min(options.max_width, MAX_WIDTH))]
        _print(console, "\n".join(lines) + "\n")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: RenderableType | None) -> None:
        if usage is not None:
            _print(console, f"Usage: {_plain(usage, console)}\n")


def label_of(entry: HelpEntry) -> str:
    """--port N; --[no-]enable-prefix-caching; MODEL; --help, -h"""
    positive = [entry.positional_label] if entry.positional_label else []
    positive += [*entry.positive_names, *entry.positive_shorts]
    negative = {name.replace("--no-", "--", 1) for name in entry.negative_names}
    names = [f"--[no-]{name.removeprefix('--')}" if name in negative else name for name in positive]
    label = ", ".join(names)
    return f"{label} {_placeholder(entry)}" if entry.metavar and not entry.positional_label else label


def _placeholder(entry: HelpEntry) -> str:
    """What a value stands for. The name of a Python type says little; of words, the option's last says more.

    STR... is an option that may repeat, with one value each time.
    """
    metavar = (entry.metavar or "").removesuffix("...")
    if metavar in ("INT", "FLOAT"):
        return "N"
    return entry.positive_names[0].rpartition("-")[2].upper() if metavar == "STR" else metavar


def text_of(entry: HelpEntry, console: Console) -> str:
    text = _plain(entry.description, console)
    if entry.required:
        return f"{text} [required]"
    if entry.default is None or entry.default in SILENT_DEFAULTS:
        return text
    default = "on" if entry.default == "True" else entry.default
    return f"{text} [default:{NO_BREAK_SPACE}{default}]"


def columns(rows: list[tuple[str, str]], *, width: int) -> list[str]:
    """The lines of (label, text) rows, the texts aligned and wrapped to the width."""
    labels = [len(label) for label, _ in rows if len(label) <= MAX_LABEL_WIDTH]
    indent = INDENT + max(labels, default=0) + GAP
    lines = []
    for label, text in rows:
        wrapped = textwrap.wrap(text, max(width - indent, MAX_LABEL_WIDTH), break_on_hyphens=False)
        first = wrapped.pop(0) if wrapped and len(label) <= MAX_LABEL_WIDTH else ""
        lines.append((" " * INDENT + label).ljust(indent) + first)
        lines += [" " * indent + line for line in wrapped]
    return [line.rstrip().replace(NO_BREAK_SPACE, " ") for line in lines]


def _plain(renderable: RenderableType | None, console: Console) -> str:
    """Its text without styles, on one line."""
    if renderable is None:
        return ""
    segments = console.render(renderable, console.options.update(width=UNWRAPPED_WIDTH))
    return re.sub(r"\s+", " ", "".join(segment.text for segment in segments)).strip()


def _print(console: Console, text: str) -> None:
    """As it is: what stands in brackets is text, not markup, and lines are wrapped already."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
