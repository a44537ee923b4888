"""Server-sent events: the data of each event, as soon as it is whole, however the bytes were cut."""


class EventParser:
    """As WHATWG HTML, section 9.2, defines them; of the fields only `data` is kept.

    Lines end with LF or CRLF: servers of this API end none with CR alone.
    """

    def __init__(self) -> None:
        self._rest = b""  # of a line
        self._data: list[bytes] = []  # lines of the event

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole with this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        return events
