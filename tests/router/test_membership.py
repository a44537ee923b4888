import asyncio

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.router.endpoints import Endpoint, EndpointSet
from octavo.router.load import Reservation
from octavo.router.membership import EndpointSpec, Membership
from octavo.router.upstream import Upstream

pytestmark = pytest.mark.asyncio

A, B, C = (EndpointSpec(f"http://{letter}:1") for letter in "abc")


class Members:
    def __init__(self) -> None:
        self.set = EndpointSet([])
        self.membership = Membership(self.set)
        self.changes: list[tuple[str, str]] = []
        self.membership.on_change = lambda endpoint, what: self.changes.append((endpoint.url, what))
        self.watched: list[Endpoint] = []
        self.membership.start(lambda endpoint: [self._watch(endpoint)])

    async def _watch(self, endpoint: Endpoint) -> None:
        self.watched.append(endpoint)
        try:
            await asyncio.Event().wait()
        finally:
            self.watched.remove(endpoint)

    @property
    def urls(self) -> list[str]:
        return [endpoint.url for endpoint in self.set.endpoints]

    async def settle(self, *urls: str) -> None:
        async with asyncio.timeout(5):
            while self.urls != list(urls) or len(self.watched) != len(urls):
                await asyncio.sleep(0.005)


async def test_members_are_watched_as_long_as_they_are_members() -> None:
    members = Members()
    one = members.membership.add(A, "x")
    members.membership.add(B, "x")
    await members.settle(A.url, B.url)
    members.membership.remove(one)
    members.membership.remove(one)
    await members.settle(B.url)
    assert members.changes == [(A.url, "joined"), (B.url, "joined"), (A.url, "leaves"), (A.url, "is gone")]
    members.membership.close()
    await asyncio.sleep(0)
    assert not members.watched


async def test_at_the_end_no_connection_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    members, closed = Members(), []
    monkeypatch.setattr(Upstream, "close", lambda upstream: closed.append(upstream))
    upstreams = [members.membership.add(spec, "x").upstream for spec in (A, B)]
    members.membership.close()
    assert closed == upstreams


async def test_who_leaves_finishes_first_and_its_url_is_free() -> None:
    members = Members()
    one = members.membership.add(A, "x")
    work = Reservation(one.load, 10)
    members.membership.remove(one)
    await asyncio.sleep(0.01)
    assert members.urls == [A.url] and not one.is_available and not members.membership.is_member(one)
    again = members.membership.add(A, "x")
    assert again.name != one.name
    work.end()
    await members.settle(A.url)
    assert members.set.endpoints == [again]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    (
        (A, "There is an endpoint http://a:1 already"),
        (EndpointSpec("http://z:1", "r0"), "named 'r0' already"),
        (EndpointSpec("nonsense"), "'nonsense' is not a URL"),
        (EndpointSpec("http://a b:1"), "'http://a b:1' has characters that no URL has"),
        (EndpointSpec("http://a/\r\nX: y"), "has characters that no URL has"),
        (EndpointSpec("http://" + "a" * 64), "has no name of a host"),
        (EndpointSpec("http://..:1"), "has no name of a host"),
    ),
)
async def test_who_cannot_join_is_told_why(spec: EndpointSpec, sentence: str) -> None:
    members = Members()
    members.membership.add(A, "x")
    with pytest.raises(InvalidRequestError, match=sentence):
        members.membership.add(spec, "x")
    assert members.urls == [A.url]


async def test_a_source_changes_only_its_own() -> None:
    members = Members()
    members.membership.add(A, "options")
    members.membership.sync([B, C], "file")
    await members.settle(A.url, B.url, C.url)
    (b,) = [endpoint for endpoint in members.set.endpoints if endpoint.url == B.url]
    members.membership.sync([B], "file")
    await members.settle(A.url, B.url)
    assert b in members.set.endpoints
    members.membership.sync([], "file")
    await members.settle(A.url)


async def test_another_name_is_another_endpoint() -> None:
    members = Members()
    members.membership.sync([A], "file")
    named = EndpointSpec(A.url, "bee", ("m",))
    members.membership.sync([named], "file")
    await members.settle(A.url)
    assert [(one.name, one.static_models) for one in members.set.endpoints] == [("bee", ("m",))]


async def test_who_has_a_name_may_move_while_its_former_self_leaves() -> None:
    members = Members()
    before, after = EndpointSpec(A.url, "bee"), EndpointSpec(B.url, "bee")
    members.membership.sync([before], "file")
    former = members.membership.get("bee")
    assert former is not None
    work = Reservation(former.load, 10)
    members.membership.sync([after], "file")
    assert members.urls == [A.url, B.url]
    newer = members.membership.get("bee")
    assert newer is not None and newer.url == B.url and members.membership.is_member(newer)
    members.membership.sync([before], "file")
    await members.settle(A.url, A.url)
    work.end()
    await members.settle(A.url)
    assert former not in members.set.endpoints


async def test_who_has_no_name_leaves_those_that_others_have() -> None:
    members = Members()
    members.membership.sync([A, EndpointSpec(B.url, "r0")], "file")
    await members.settle(B.url, A.url)
    assert [one.name for one in members.set.endpoints] == ["r0", "r1"]


@pytest.mark.parametrize(
    "specs",
    (
        [B, B],
        [B, EndpointSpec("nonsense")],
        [B, A],
        [B, EndpointSpec("http://..:1")],
        [EndpointSpec("http://x:1", "same"), EndpointSpec("http://y:1", "same")],
        [B, EndpointSpec("http://x:1", "r0")],
        [C, EndpointSpec("http://x:1", "r1")],
    ),
)
async def test_what_makes_no_sense_changes_nothing(specs: list[EndpointSpec]) -> None:
    members = Members()
    members.membership.add(A, "options")
    members.membership.sync([C], "file")
    with pytest.raises(InvalidRequestError):
        members.membership.sync(specs, "file")
    await members.settle(A.url, C.url)
