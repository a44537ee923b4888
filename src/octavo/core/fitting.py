"""Lines for people, cut between words where the terminal ends. A file or a pipe gets them as they are."""

import shutil
import textwrap
from typing import TextIO

MIN_WIDTH = 30  # of what stands behind an indent


def fitted(text: str, indent: int, out: TextIO) -> str:
    """text's lines for out; what does not fit goes on in the next one, behind so many spaces."""
    if not out.isatty():
        return text
    width = max(shutil.get_terminal_size().columns - 1, indent + MIN_WIDTH)
    return "\n".join(_cut(line, indent, width) for line in text.splitlines())


def _cut(line: str, indent: int, width: int) -> str:
    if len(line) <= width:
        return line
    parts = textwrap.wrap(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(parts)
