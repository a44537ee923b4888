"""Which endpoints there are, while that changes: by a file, by names in DNS, by an operator's requests.

Each source owns the endpoints it named and no others. Who leaves gets nothing new and keeps what it has until
that has ended; then it is forgotten. Meanwhile another one may have its URL and its name.
"""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Coroutine, Sequence

from octavo.core.errors import ECHO_LIMIT, InvalidRequestError
from octavo.http.background import in_background
from octavo.router.address import Address
from octavo.router.endpoints import Endpoint, EndpointSet

LEAVING_SECONDS = 0.2  # between two looks whether somebody who leaves has ended everything

Watchers = Callable[[Endpoint], Sequence[Coroutine[None, None, None]]]


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointSpec:
    """models: what it serves, if it is not to be asked. is_standby: in place of another one only."""

    url: str
    name: str | None = None
    models: tuple[str, ...] = ()
    is_standby: bool = False


def _check_url(url: str) -> None:
    """Raises ValueError for what no connection could be made with, or no line of a log or a request hold."""
    shown = url[:ECHO_LIMIT]
    if not url.isprintable() or " " in url:
        raise ValueError(f"{shown!r} has characters that no URL has")
    host = Address.parse(url).host
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{shown!r} has no name of a host: its parts are of 1 to 63 characters") from None


class Membership:
    def __init__(
        self,
        endpoints: EndpointSet,
        *,
        connect_seconds: float = 2.0,
    ) -> None:
        self.on_change: Callable[[Endpoint, str], None] = lambda endpoint, what: None
        """Told who "joined", "leaves" or "is gone"."""
        self._set = endpoints
        self._connect_seconds = connect_seconds
        self._watchers: Watchers | None = None
        self._sources: dict[Endpoint, str] = {}
        self._specs: dict[Endpoint, EndpointSpec] = {}
        self._tasks: dict[Endpoint, list[asyncio.Task[None]]] = {}
        self._numbers = itertools.count()

    def start(self, watchers: Watchers) -> None:
        """watchers: what runs beside for each endpoint as long as it is a member."""
        self._watchers = watchers
        for endpoint in self._set.endpoints:
            self._watch(endpoint)

    def _watch(self, endpoint: Endpoint) -> None:
        if self._watchers is not None:
            what = f"A watch over endpoint {endpoint.name} ({endpoint.url})"
            self._tasks[endpoint] = [in_background(watch, what) for watch in self._watchers(endpoint)]

    def close(self) -> None:
        """At the end of the process: nobody is watched any more, and no connection waits to be used again."""
        for tasks in self._tasks.values():
            for task in tasks:
                task.cancel()
        self._tasks.clear()
        for endpoint in self._set.endpoints:
            endpoint.upstream.close()

    def is_member(self, endpoint: Endpoint) -> bool:
        """And does not leave."""
        return endpoint in self._specs

    def get(self, name: str) -> Endpoint | None:
        """A member, or else one that leaves."""
        everybody = (*self._specs, *self._set.endpoints)
        return next((endpoint for endpoint in everybody if endpoint.name == name), None)

    def add(self, spec: EndpointSpec, source: str) -> Endpoint:
        """Raises InvalidRequestError: not a URL, or there is such an endpoint already."""
        if any(known.url == spec.url for known in self._specs):
            raise InvalidRequestError(f"There is an endpoint {spec.url} already.", param="url")
        if any(known.name == spec.name for known in self._specs):
            raise InvalidRequestError(f"There is an endpoint named {spec.name!r} already.", param="name")
        name = spec.name or self._free_name()
        try:
            _check_url(spec.url)
            endpoint = Endpoint(
                spec.url,
                name=name,
                static_models=spec.models,
                is_standby=spec.is_standby,
                connect_seconds=self._connect_seconds,
            )
        except ValueError as error:
            raise InvalidRequestError(f"{error}.", param="url") from None
        self._sources[endpoint], self._specs[endpoint] = source, spec
        self._set.endpoints.append(endpoint)
        self._watch(endpoint)
        self.on_change(endpoint, "joined")
        return endpoint

    def _free_name(self) -> str:
        return next(name for number in self._numbers if self.get(name := f"r{number}") is None)

    def remove(self, endpoint: Endpoint) -> None:
        """It leaves, once what it has under way has ended."""
        if endpoint in self._specs:
            del self._specs[endpoint]  # another one may have its URL now
            endpoint.is_draining = True
            self.on_change(endpoint, "leaves")
            leaving = asyncio.create_task(self._leave(endpoint))
            self._tasks.setdefault(endpoint, []).append(leaving)

    async def _leave(self, endpoint: Endpoint) -> None:
        while endpoint.load.num_requests:
            await asyncio.sleep(LEAVING_SECONDS)
        self._set.endpoints.remove(endpoint)
        del self._sources[endpoint]
        endpoint.upstream.close()
        self.on_change(endpoint, "is gone")
        for task in self._tasks.pop(endpoint):
            if task is not asyncio.current_task():
                task.cancel()

    def sync(self, specs: Sequence[EndpointSpec], source: str) -> None:
        """What this source names now: who is new joins, who is no longer named leaves.

        Raises InvalidRequestError, having changed nothing, when a new one cannot join.
        """
        present = {spec: one for one, spec in self._specs.items() if self._sources[one] == source}
        others = [one for one in self._specs if self._sources[one] != source]
        _check(others, [present.get(spec, spec) for spec in specs])
        for spec, endpoint in present.items():
            if spec not in specs:
                self.remove(endpoint)
        for spec in sorted(specs, key=lambda spec: spec.name is None):  # they get names that are left
            if spec not in present:
                self.add(spec, source)


def _check(others: Sequence[Endpoint], named: Sequence[Endpoint | EndpointSpec]) -> None:
    """named: by the source; those who are new by their specs. Raises InvalidRequestError."""
    everybody = [*others, *named]
    for new in named:
        try:
            _check_url(new.url)
        except ValueError as error:
            raise InvalidRequestError(f"{error}.", param="url") from None
        if sum(one.url == new.url for one in everybody) > 1:
            raise InvalidRequestError(f"{new.url} is named twice.", param="url")
        if new.name is not None and sum(one.name == new.name for one in everybody) > 1:
            raise InvalidRequestError(f"Two endpoints are named {new.name!r}.", param="name")
