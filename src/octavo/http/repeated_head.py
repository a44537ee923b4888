"""The head of a request that its client has sent before: recognized, not parsed again.

On a connection that is kept, a client says the same each time, but for the length of what follows. What the
parser made of such a head is remembered, and so is whatever else was found out about it (once). Anything that
could end a body elsewhere, or the connection, is never taken for a repetition.
Runs in the server's event loop.
"""

import re
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

from starlette.types import Scope

MAX_HEAD_BYTES = 1 << 13  # of one that is remembered
MAX_LEARNED = 4  # heads of a connection: a client that never repeats itself is not listened to for ever
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})\r\n", re.IGNORECASE)
_MAX_DIGITS = 9
_MEANINGFUL = frozenset((b"transfer-encoding", b"connection", b"expect", b"upgrade"))
_SCOPE_KEY = "octavo.findings"

Found = TypeVar("Found")


class Recognized(NamedTuple):
    """scope: as ASGI has it, of this request alone. num_body_bytes: as the head says."""

    scope: Scope
    num_head_bytes: int
    num_body_bytes: int


class RepeatedHead:
    """One head, cut open where the length of its body stands."""

    def __init__(self, before: bytes, after: bytes, scope: Scope, index: int) -> None:
        """index: of content-length among the scope's headers."""
        self._before = before
        self._after = after
        self._scope: dict[str, Any] = {**scope, _SCOPE_KEY: {}}
        self._headers = scope["headers"][:index], scope["headers"][index + 1 :]

    @classmethod
    def of(cls, packet: bytes, scope: Scope) -> "RepeatedHead | None":
        """packet: the first that held some of the head that the parser has made scope of. None: it is not
        learned."""
        head, end, _ = packet.partition(b"\r\n\r\n")
        headers = scope["headers"]
        names = [name for name, _ in headers]
        found = _LENGTH.search(head + end)
        if not end or found is None or len(head) > MAX_HEAD_BYTES or names.count(b"content-length") != 1:
            return None
        if scope["http_version"] != "1.1" or not head.startswith(b"POST ") or not _is_plain(head, headers):
            return None
        start, stop = found.span(1)
        return cls(head[:start], (head + end)[stop:], scope, names.index(b"content-length"))

    def recognize(self, packet: bytes) -> Recognized | None:
        start = len(self._before)
        stop = packet.find(b"\r", start, start + _MAX_DIGITS + 1)
        length = packet[start:stop]
        is_it = packet.startswith(self._before) and length.isdigit() and packet.startswith(self._after, stop)
        if not is_it:
            return None
        before, after = self._headers
        headers = [*before, (b"content-length", length), *after]
        return Recognized({**self._scope, "headers": headers}, stop + len(self._after), int(length))


def _is_plain(head: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Its lines are its headers, one by one, and none says more than what it is called."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    read = [(name.lower(), value.strip(b" \t")) for name, _, value in lines]
    return read == headers and not any(
        name in _MEANINGFUL and (name, value.lower()) != (b"connection", b"keep-alive")
        for name, value in headers
    )


class RepeatedHeads:
    """Of one connection: the newest that was learned."""

    def __init__(self) -> None:
        self._known: RepeatedHead | None = None
        self._packet: bytes | None = None  # begins with a request, which is being parsed
        self._num_learned = 0

    def recognize(self, packet: bytes) -> Recognized | None:
        """packet: begins a request. None: it is for the parser."""
        recognized = None if self._known is None else self._known.recognize(packet)
        self._packet = packet if recognized is None and self._num_learned < MAX_LEARNED else None
        return recognized

    def learn(self, scope: Scope) -> None:
        """The parser has made scope of the next head. It is learned if it began the last packet that was not
        recognized."""
        packet, self._packet = self._packet, None
        if packet is not None:
            self._num_learned += 1
            self._known = RepeatedHead.of(packet, scope) or self._known


def once(scope: Scope, find: Callable[[Scope], Found]) -> Found:
    """find(scope); for a head that is repeated only once, since it looks at nothing else. Raises what find
    does."""
    findings: dict[Hashable, Any] | None = scope.get(_SCOPE_KEY)
    if findings is None:
        return find(scope)
    if find not in findings:
        findings[find] = find(scope)
    found: Found = findings[find]
    return found
