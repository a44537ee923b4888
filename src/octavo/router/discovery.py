"""Where endpoints come from when they are not on the command line: a YAML file, and names in DNS.

Both are looked at again and again. What cannot be read, or makes no sense, changes nothing, and is said once.
"""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from octavo.core.errors import OctavoError, StartError
from octavo.core.yaml_text import YamlError, load_yaml
from octavo.router.membership import EndpointSpec, Membership

MAX_FILE_BYTES = 1 << 20
DNS_SCHEME = "dns"
_FIELDS = ("url", "name", "models", "standby")


class FileWatch:
    """`endpoints`, a list of URLs or of mappings with url, name, models and standby."""

    def __init__(
        self,
        path: pathlib.Path,
        membership: Membership,
        *,
        interval_seconds: float = 1.0,
        on_error: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._path = path
        self._membership = membership
        self._interval_seconds = interval_seconds
        self._on_error = on_error
        self._version: tuple[int, ...] | None = None

    def load(self) -> None:
        """Raises StartError, OSError, InvalidRequestError: everything stays as it was."""
        self._version = self._look()  # what changes from here on is read again
        self._membership.sync(parse_endpoints(self._read()), str(self._path))

    def _read(self) -> str:
        with self._path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise StartError(f"it is longer than {MAX_FILE_BYTES} bytes.")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise StartError("it is not UTF-8.") from None

    async def run(self) -> None:
        """Until cancelled; load() goes before."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            if self._look() != self._version:
                self._reload()

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _reload(self) -> None:
        try:
            self.load()
        except (OSError, OctavoError) as error:
            reason = f"{error.strerror}." if isinstance(error, OSError) else str(error)
            self._on_error(f"--endpoints-file {self._path}: {reason} The endpoints it had before stay.")


def parse_endpoints(text: str) -> list[EndpointSpec]:
    """Raises StartError, naming the entry and the field."""
    try:
        document = load_yaml(text)
    except YamlError as error:
        raise StartError(f"it {error}.") from None
    if not isinstance(document, dict) or set(document) != {"endpoints"}:
        raise StartError("it must have one field, endpoints.")
    entries = document["endpoints"]
    if not isinstance(entries, list):
        raise StartError("endpoints must be a list.")
    return [_spec(number, entry) for number, entry in enumerate(entries)]


def _spec(number: int, entry: Any) -> EndpointSpec:
    place = f"endpoints[{number}]"
    if isinstance(entry, str):
        return EndpointSpec(entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("url"), str):
        raise StartError(f"{place} must be a URL, or have a field url.")
    for field in entry:
        if field not in _FIELDS:
            raise StartError(f"{place} has the field {str(field)[:80]!r}; allowed: {', '.join(_FIELDS)}.")
    name, models = entry.get("name"), entry.get("models", [])
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= 64):
        raise StartError(f"{place}.name must be a string of 1 to 64 characters.")
    if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
        raise StartError(f"{place}.models must be a list of strings.")
    if not isinstance(entry.get("standby", False), bool):
        raise StartError(f"{place}.standby must be true or false.")
    return EndpointSpec(entry["url"], name, tuple(models), entry.get("standby", False))


class DnsWatch:
    """`dns://NAME:PORT`: an endpoint for each of the name's addresses, as a headless service has them."""

    def __init__(
        self,
        url: str,
        membership: Membership,
        *,
        interval_seconds: float = 5.0,
        on_error: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Raises StartError."""
        self._url = url
        self._host, self._port = _parse_name(url)
        self._membership = membership
        self._interval_seconds = interval_seconds
        self._on_error = on_error
        self._is_failing = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_seconds)

    async def look(self) -> None:
        """A name that cannot be resolved now keeps the addresses it had."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
            addresses = sorted({str(address[4][0]) for address in found})
            specs = [EndpointSpec(f"http://{_bracketed(address)}:{self._port}") for address in addresses]
            self._membership.sync(specs, self._url)
        except (OSError, OctavoError) as error:
            if not self._is_failing:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                self._on_error(f"{self._url}: {reason}; its endpoints stay as they were")
            self._is_failing = True
        else:
            self._is_failing = False


def _parse_name(url: str) -> tuple[str, int]:
    """Raises StartError, also for a name that DNS cannot be asked for."""
    with contextlib.suppress(ValueError):  # UnicodeError is one
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if host and host.encode("idna") and port and parts.path in ("", "/"):
            return host, port
    raise StartError(f"{url!r} is no endpoint; allowed: dns://NAME:PORT.")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
