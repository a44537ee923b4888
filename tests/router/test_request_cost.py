"""A budget for what Python does in the router for a request and for an event of a stream: in calls, which no
load of the machine changes. The kernel's part, the event loop's, and those of client and endpoint do not
count."""

import asyncio
import contextlib
import gc
import pathlib
from collections.abc import AsyncIterator

import pytest

import octavo
from octavo.http.outlet import AnswerOutlet
from octavo.router.delivery import Delivery
from octavo.router.routed_request import RoutedRequest
from tests.counted_calls import CountedCalls
from tests.router.routed import Routed, routed
from tools.router_overhead import engine
from tools.router_overhead.engine import Replica

pytestmark = pytest.mark.asyncio

NUM_REQUESTS = 20
NUM_EVENTS = 40
CALLS_OF_A_REQUEST = 290  # of Python and of C functions, by octavo's code and uvicorn's
# By the secret: passed on as it is, or by a channel, with its mark taken out. Of several streams of a channel
# only the first one's event costs so much.
CALLS_OF_AN_EVENT = {None: 11, "shared": 39}
COUNTED = (str(pathlib.Path(octavo.__file__).parent), "uvicorn", "starlette", "prometheus_client")


@contextlib.asynccontextmanager
async def one_endpoint(secret: str | None) -> AsyncIterator[Routed]:
    server = await asyncio.get_running_loop().create_server(Replica().connection, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with routed([url], secret=secret, policy="cost") as router:
        yield router
    server.close()


@pytest.mark.parametrize("secret", CALLS_OF_AN_EVENT)
async def test_the_calls_of_a_request(secret: str | None) -> None:
    async with one_endpoint(secret) as router:
        for _ in range(2):  # then the client's head is known
            await router.ask()
        tasks = asyncio.all_tasks()
        with CountedCalls(COUNTED) as calls:
            for _ in range(NUM_REQUESTS):
                asking = asyncio.ensure_future(router.ask())
                while not asking.done():
                    await asyncio.sleep(0)
                    assert asyncio.all_tasks() <= tasks | {asking}, "a task was made for it"
                assert asking.result().status_code == 200
    assert calls.count / NUM_REQUESTS <= CALLS_OF_A_REQUEST


@pytest.mark.parametrize("secret", CALLS_OF_AN_EVENT)
async def test_the_calls_of_an_event(secret: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "EVENTS_PER_SECOND", 500.0)
    counts = []
    async with one_endpoint(secret) as router:
        for _ in range(2):  # then the client's head is known
            await router.ask()
        for num_events in (2, 2 + NUM_EVENTS):
            monkeypatch.setattr(engine, "NUM_EVENTS", num_events)
            with CountedCalls(COUNTED) as calls:
                answer = await router.ask(stream=True)
            assert answer.content.count(b'"delta":{"content"') == num_events
            counts.append(calls.count)
    assert 0 < (counts[1] - counts[0]) / NUM_EVENTS <= CALLS_OF_AN_EVENT[secret]


def kept_of_requests() -> list[object]:
    """By type(), as isinstance asks an object for its class, and some of torch's warn when they are asked."""
    kinds = (Delivery, AnswerOutlet, RoutedRequest)
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]


@pytest.mark.parametrize("is_stream", (False, True))
@pytest.mark.parametrize("secret", CALLS_OF_AN_EVENT)
async def test_a_request_is_freed_at_its_end(
    secret: str | None, is_stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the garbage collector, whose work would be a tenth of all."""
    monkeypatch.setattr(engine, "NUM_EVENTS", 2)
    monkeypatch.setattr(engine, "EVENTS_PER_SECOND", 500.0)
    gc.collect()
    gc.disable()
    before = set(map(id, kept_of_requests()))  # by tests that ran earlier
    try:
        async with one_endpoint(secret) as router:
            for _ in range(3):
                assert (await router.ask(stream=is_stream)).status_code == 200
            await asyncio.sleep(0)
            left = [one for one in kept_of_requests() if id(one) not in before]
    finally:
        gc.enable()
    assert sum(not isinstance(one, AnswerOutlet) for one in left) == 0
    assert len(left) <= 1  # the connection knows its last answer
