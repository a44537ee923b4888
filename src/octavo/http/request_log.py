"""One line on stderr for each request at its end: what was asked, how it ended, and where its time went."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import msgspec
from starlette.types import Scope

from octavo.http.allowance import UNLIMITED, Allowance
from octavo.http.headers import Headers
from octavo.http.outlet import Outlet

CLIENT_CLOSED_REQUEST = 499  # logged, never sent: the client left before its answer was whole
_QUIET_PATHS = frozenset(
    (
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/v1/models",
        "/octavo/v1/model",
        "/octavo/v1/events",
        "/octavo/v1/channel",
        "/octavo/v1/known-answer",
        "/debug/endpoints",
    )
)  # polled: only their failures are logged
MAX_SHOWN_ENDPOINTS = 6  # in a line of text
MAX_IGNORED_NAMES = 32  # in the header x-octavo-ignored
MAX_IGNORED_NAME = 64  # characters of each
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_SCOPE_KEY = "octavo.record"
_DIM, _RED, _YELLOW, _GREEN, _RESET = "\033[2m", "\033[31m", "\033[33m", "\033[32m", "\033[0m"


class RequestRecord(msgspec.Struct):
    """One HTTP request. Token counts are those of its usage, times are those of the slowest choice."""

    request_id: str
    method: str
    path: str
    arrival: float  # on RequestLog's clock
    status: int = 0
    key_id: str | None = None  # whose key it brought; never the key
    allowance: Allowance = UNLIMITED  # of that key
    completion_id: str | None = None
    finish_reason: str | None = None
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    queue_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0  # first token to last
    first_token_seconds: float | None = None  # after arrival
    recorded: Mapping[str, object] = msgspec.field(default_factory=dict)  # parameters only logged
    ignored: tuple[str, ...] = ()  # names of those and of unknown fields
    outlet: Outlet | None = None  # for the body of a streamed answer; None: not a connection of ours
    endpoints: tuple[str, ...] = ()  # a router's: who was asked, in order
    error: str | None = None  # a router's: the code of what the answer is, or ends with, whatever its status

    def stream_outlet(self) -> Outlet:
        assert self.outlet is not None, "http/connection.py gives every request one"
        return self.outlet

    def head(self, status: int, headers: Headers) -> Headers:
        """What an answer's head has beside headers; notes its status."""
        self.status = status
        left = self.allowance.headers()
        if left:  # a router's client hears what the router counts
            ours = {name for name, _ in left}
            headers = [header for header in headers if header[0] not in ours]
        whole = [*headers, (b"x-request-id", self.request_id.encode()), *left]
        if self.ignored:
            whole.append((b"x-octavo-ignored", self._ignored_names()))
        return whole

    def _ignored_names(self) -> bytes:
        """Of what was asked for without effect; a client chose those of unknown fields."""
        names = [_NO_NAME.sub("?", name[:MAX_IGNORED_NAME]) for name in self.ignored[:MAX_IGNORED_NAMES]]
        return ", ".join(names).encode()

    def note(self, recorded: Mapping[str, object], unknown: tuple[str, ...]) -> None:
        """What the request asked for without effect."""
        self.recorded = recorded
        self.ignored = (*recorded, *unknown)

    def note_error(self, code: str) -> None:
        self.error = code

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        record: RequestRecord = scope[_SCOPE_KEY]
        return record

    def attach(self, scope: Scope) -> None:
        scope[_SCOPE_KEY] = self


def request_id_of(scope: Mapping[str, Any]) -> str:
    """For the log; - before the gate has seen the request."""
    record: RequestRecord | None = scope.get(_SCOPE_KEY)
    return "-" if record is None else record.request_id


class RequestLog:
    def __init__(
        self,
        *,
        is_json: bool,
        is_coloured: bool,
        output: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._wall_clock = wall_clock
        self._output = output or sys.stderr
        self._is_coloured = is_coloured
        self._render = self._as_json if is_json else self._as_text

    def write(self, record: RequestRecord) -> None:
        if record.path in _QUIET_PATHS and record.status < 400:
            return
        total = self.clock() - record.arrival
        try:
            self._output.write(self._render(record, total) + "\n")
            self._output.flush()
        except OSError:
            return  # a full disk, or a pipe that nobody reads: the request has been answered

    def _as_json(self, record: RequestRecord, total: float) -> str:
        now = self._wall_clock()
        line: dict[str, Any] = {
            "time": round(now * 1000) / 1000,
            "arrival": round((now - total) * 1000) / 1000,
            "id": record.request_id,
            "method": record.method,
            "path": record.path,
            "status": record.status,
            "total_ms": _milliseconds(total),
        }
        if record.key_id is not None:
            line["key_id"] = record.key_id
        if record.ignored:
            line |= {"recorded": record.recorded, "ignored": [_printable(name) for name in record.ignored]}
        if record.endpoints:
            line["endpoints"] = record.endpoints
        if record.error is not None:
            line["error"] = record.error
        if record.completion_id is not None:
            first = record.first_token_seconds
            line |= {
                "completion_id": record.completion_id,
                "finish_reason": record.finish_reason,
                "prompt_tokens": record.num_prompt_tokens,
                "cached_tokens": record.num_cached_tokens,
                "output_tokens": record.num_output_tokens,
                "queue_ms": _milliseconds(record.queue_seconds),
                "prefill_ms": _milliseconds(record.prefill_seconds),
                "decode_ms": _milliseconds(record.decode_seconds),
                "ttft_ms": None if first is None else _milliseconds(first),
                "tokens_per_second": _rate(record, total),
            }
        return msgspec.json.encode(line).decode()

    def _as_text(self, record: RequestRecord, total: float) -> str:
        parts = [
            self._status(record),
            f"{record.method} {_printable(record.path)}",
            self._paint(record.request_id, _DIM),
        ]
        if record.key_id is not None:
            parts.append(f"key {record.key_id}")
        if record.endpoints:
            parts.append(_way(record.endpoints))
        if record.error is not None:
            parts.append(f"error {_printable(record.error)}")
        if record.completion_id is not None:
            parts += [
                record.finish_reason or "error",
                f"prompt {record.num_prompt_tokens} ({record.num_cached_tokens} cached)",
                f"output {record.num_output_tokens}",
                f"queue {_milliseconds(record.queue_seconds):.0f} ms",
                f"prefill {_milliseconds(record.prefill_seconds):.0f} ms",
            ]
        if record.first_token_seconds is not None:
            parts.append(f"first token {_milliseconds(record.first_token_seconds):.0f} ms")
        parts.append(f"total {_milliseconds(total):.0f} ms")
        rate = _rate(record, total)
        return "  ".join(parts if rate is None else [*parts, f"{rate:.1f} tok/s"])

    def _status(self, record: RequestRecord) -> str:
        """A stream's was said before what came of it."""
        status = record.status
        is_bad = status >= 500 or (status < 400 and record.error is not None)
        return self._paint(str(status), _RED if is_bad else _YELLOW if status >= 400 else _GREEN)

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._is_coloured else text


def _milliseconds(seconds: float) -> float:
    return round(seconds * 10_000) / 10  # round(x, 1) prints the number and reads it again


def _rate(record: RequestRecord, total: float) -> float | None:
    """Output tokens per second, from the first token on."""
    if record.first_token_seconds is None or record.num_output_tokens < 2:
        return None
    return round((record.num_output_tokens - 1) / max(total - record.first_token_seconds, 1e-9), 1)


def _way(endpoints: Sequence[str]) -> str:
    """Who was asked, in order; of many the first ones and the last."""
    if len(endpoints) <= MAX_SHOWN_ENDPOINTS:
        return " > ".join(endpoints)
    *first, last = *endpoints[: MAX_SHOWN_ENDPOINTS - 1], endpoints[-1]
    return f"{' > '.join(first)} > ... > {last} ({len(endpoints)} attempts)"


def _printable(text: str) -> str:
    """What a client or an endpoint chose, on one line of a terminal."""
    text = text[:200]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
