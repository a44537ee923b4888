"""What is typed at the prompt of `octavo run`: lines, blocks of lines, and the wish to leave."""

import contextlib
import readline
import signal
from collections.abc import Callable, Iterator
from types import FrameType

PROMPT = ">>> "
MORE_PROMPT = "... "
QUOTES = '"""'


class LineReader:
    """Edits lines and remembers them, as shells do. say shows a word to the user."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._line = ""  # what was typed when Ctrl-C came
        readline.set_auto_history(True)

    def read(self) -> str | None:
        """A message, or None to leave: Ctrl-D, or Ctrl-C twice while nothing is typed."""
        is_warned = False
        while True:
            try:
                with self._interruptible():
                    text = input(PROMPT).strip()
                    return self._read_block(text) if text.startswith(QUOTES) else text
            except EOFError:
                print()
                return None
            except KeyboardInterrupt:
                print()
                if self._line:
                    continue
                if is_warned:
                    return None
                self._say("Ctrl-C again, Ctrl-D or /bye leaves.")
                is_warned = True

    def _read_block(self, first: str) -> str:
        lines = [first.removeprefix(QUOTES)]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(input(MORE_PROMPT))
        return "\n".join(lines).rstrip().removesuffix(QUOTES).strip()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        previous = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._line = readline.get_line_buffer()  # readline forgets it with the exception
        raise KeyboardInterrupt
