"""Each member's lines in a file of its own, under OCTAVO_HOME; a file that has grown is moved aside once."""

import logging
import logging.handlers
import pathlib

MAX_LOG_BYTES = 10 << 20


class LogFolder:
    """write() may be called from any thread."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._handlers: dict[str, logging.Handler] = {}

    def open(self, name: str) -> None:
        """Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            self.path / f"{name}.log", maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._handlers[name] = handler

    def write(self, name: str, text: str) -> None:
        record = logging.LogRecord(name, logging.INFO, "", 0, text, None, None)
        self._handlers[name].handle(record)

    def close(self) -> None:
        for handler in self._handlers.values():
            handler.close()
