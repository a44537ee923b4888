"""Whose key a request brings. Keys come from a flag and from a file, which is read again when it has changed.

A file that has become wrong changes nothing: the keys it had before stay, and the log says what is wrong.
"""

import logging
import pathlib
import time
from collections.abc import Callable

from starlette.datastructures import Headers

from octavo.core.errors import StartError
from octavo.http.api_keys import ApiKey, find_key, parse_keys

FLAG_KEY_ID = "default"  # of the key that --api-key or OCTAVO_API_KEY gives
MAX_FILE_BYTES = 1 << 20
KEY_HEADERS = (b"authorization", b"api-key", b"x-api-key")

_Version = tuple[int, int, int]


class KeyFile:
    def __init__(
        self,
        path: pathlib.Path,
        *,
        check_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises StartError. check_seconds: how often it may be looked at."""
        self._path = path
        self._check_seconds = check_seconds
        self._clock = clock
        self._logger = logging.getLogger(__name__)
        self._version = self._look()
        try:
            self._keys = self._read()
        except (OSError, StartError) as error:
            raise StartError(f"--api-key-file {path}: {_reason(error)}") from None
        self._checked_at = clock()

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """As of now, but for check_seconds."""
        now = self._clock()
        if now - self._checked_at >= self._check_seconds:
            self._checked_at = now
            self._reload()
        return self._keys

    def _reload(self) -> None:
        version = self._look()
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = self._read()
        except (OSError, StartError) as error:
            self._logger.error("%s: %s The keys it had before stay.", self._path, _reason(error))
        else:
            self._logger.info("%s was read again; number of keys: %d.", self._path, len(self._keys))

    def _look(self) -> _Version | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> tuple[ApiKey, ...]:
        with self._path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise StartError(f"longer than {MAX_FILE_BYTES} bytes.")
        try:
            keys = parse_keys(data.decode())
        except UnicodeDecodeError:
            raise StartError("not a text in UTF-8.") from None
        if not keys:
            raise StartError("there is no key in it; `octavo keys add NAME` makes one.")
        return keys


def _reason(error: OSError | StartError) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


class KeyRing:
    """Every key that opens the API; without any, everybody may."""

    def __init__(self, api_key: str | None = None, file: KeyFile | None = None) -> None:
        self._own = () if api_key is None else (ApiKey.of(api_key, FLAG_KEY_ID),)
        self._file = file

    @classmethod
    def of(cls, api_key: str | None, path: pathlib.Path | None) -> "KeyRing":
        """Raises StartError for a file that cannot be read."""
        return cls(api_key, None if path is None else KeyFile(path))

    @property
    def is_open(self) -> bool:
        return not self._own and self._file is None

    def owner(self, headers: Headers) -> ApiKey | None:
        """The key that the request brings; None: it brings none that is known."""
        known = self._own if self._file is None else (*self._own, *self._file.keys)
        return find_key(known, key_of(headers))


def key_of(headers: Headers) -> bytes:
    """Authorization: Bearer KEY, as OpenAI has it; or api-key: KEY, as Azure has it; or x-api-key: KEY, as
    Anthropic has it."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = headers.get("api-key") or headers.get("x-api-key", "")
    return key.strip(" \t").encode("latin-1")
