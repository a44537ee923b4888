"""Text that comes in pieces, written to a terminal without cutting words at its edge."""

import re
import shutil
from typing import TextIO

from rich.cells import cell_len

_WORDS = re.compile(r"\n|[^\S\n]+|\S+")


class WordWrap:
    """A word is held back until it has ended, or is as long as the line; what has no edge is not wrapped."""

    def __init__(self, out: TextIO, width: int | None = None) -> None:
        self._out = out
        self._width = width if width is not None else _width(out)
        self._column = 0
        self._word = ""
        self._space = ""  # before the word; dropped where the line ends

    def write(self, text: str) -> None:
        if self._width is None:
            self._out.write(text)
        else:
            for piece in _WORDS.findall(text):
                self._take(piece, self._width)
        self._out.flush()

    def finish(self) -> None:
        """The rest, and the line's end."""
        if self._width is not None:
            self._put_word(self._width)
        self._out.write("\n")
        self._out.flush()
        self._column = 0

    def _take(self, piece: str, width: int) -> None:
        if not piece.isspace():
            self._word += piece
            if cell_len(self._word) >= width:
                self._put_word(width)
            return
        self._put_word(width)
        if piece == "\n":
            self._out.write("\n")
            self._column, self._space = 0, ""
        else:
            self._space += piece

    def _put_word(self, width: int) -> None:
        length = cell_len(self._space) + cell_len(self._word)
        if not self._word:
            return
        if self._column and self._column + length >= width:
            self._out.write("\n")
            self._column, self._space, length = 0, "", cell_len(self._word)
        self._out.write(self._space + self._word)
        self._column = (self._column + length) % width
        self._space = self._word = ""


def _width(out: TextIO) -> int | None:
    return shutil.get_terminal_size().columns if out.isatty() else None
