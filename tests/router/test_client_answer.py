import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from octavo.http.errors import ErrorAnswer
from octavo.http.outlet import AnswerOutlet
from octavo.router.client_answer import SAID_BY_ENDPOINT, ClientAnswer

pytestmark = pytest.mark.asyncio

ERROR = ErrorAnswer("endpoint_failed", "It broke.")


class Client:
    """An outlet: what has been put into it."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, list[tuple[bytes, bytes]]]] = []
        self.ends: list[bytes] = []
        self.written: list[bytes] = []
        self.is_behind = self.is_gone = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None

    @property
    def answer(self) -> ClientAnswer:
        return ClientAnswer(cast(AnswerOutlet, self), lambda status, headers: headers)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.heads.append((status, headers))

    def end(self, data: bytes = b"") -> None:
        self.ends.append(data)


async def test_headers_of_the_connection_stay_and_the_route_is_added() -> None:
    client = Client()
    headers = [(b"content-type", b"a/b"), (b"transfer-encoding", b"chunked"), (b"x-request-id", b"theirs")]
    client.answer.start(200, headers, b"why")
    assert client.heads[0][1] == [(b"content-type", b"a/b"), (b"x-octavo-route", b"why")]


async def test_an_error_has_a_status_as_long_as_there_is_none() -> None:
    client = Client()
    client.answer.fail(ERROR)
    assert client.heads[0][0] == 502 and b"It broke." in client.ends[0]


@pytest.mark.parametrize(
    ("event", "code"),
    [(ERROR.event, "endpoint_failed"), (b"data: {}\n\n", SAID_BY_ENDPOINT), (b"\xff", SAID_BY_ENDPOINT)],
)
async def test_the_error_that_a_replica_ends_with_has_its_code(event: bytes, code: str) -> None:
    client, codes = Client(), list[str]()
    answer = ClientAnswer(cast(AnswerOutlet, client), lambda status, headers: headers, codes.append)
    answer.start(200, [], b"", is_event_stream=True)
    answer.end_with(event)
    answer.fail(ERROR)  # too late
    assert (client.ends, codes) == ([event], [code])


async def test_in_a_stream_an_error_is_an_event_of_its_own() -> None:
    client = Client()
    answer = client.answer
    answer.start(200, [(b"content-type", b"text/event-stream")], b"", is_event_stream=True)
    assert answer.write(b"data: half an ev")
    answer.fail(ERROR)
    assert client.written == [b"data: half an ev"]
    assert client.ends == [b"\n\n" + ERROR.event] and answer.has_ended
    answer.fail(ERROR)
    assert len(client.ends) == 1


async def test_another_body_is_left_unfinished() -> None:
    client = Client()
    answer = client.answer
    answer.start(200, [(b"content-type", b"application/json")], b"")
    answer.fail(ERROR)
    assert len(client.heads) == 1 and not client.ends and not answer.has_ended


@pytest.mark.parametrize("is_event_stream", (True, False))
async def test_a_stream_has_no_length_and_a_whole_answer_keeps_it(is_event_stream: bool) -> None:
    client = Client()
    client.answer.start(200, [(b"content-length", b"5")], b"", is_event_stream=is_event_stream)
    assert (b"content-length" in dict(client.heads[0][1])) != is_event_stream


async def test_who_does_not_keep_up_is_waited_for_unless_he_is_gone() -> None:
    client = Client()
    answer = client.answer
    await answer.room()
    client.is_behind = True
    assert not answer.write(b"data: 1\n\n")
    waiting = asyncio.create_task(answer.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    client.is_behind = False
    client.on_room()
    await waiting
    client.is_behind = client.is_gone = True
    await answer.room()
