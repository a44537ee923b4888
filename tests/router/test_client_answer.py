import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from octavo.http.errors import ErrorAnswer
from octavo.router.client_answer import ClientAnswer

pytestmark = pytest.mark.asyncio

ERROR = ErrorAnswer("endpoint_failed", "It broke.")


class Client:
    """Both ways to it."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.written: list[bytes] = []
        self.is_behind = self.is_gone = False
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None

    @property
    def answer(self) -> ClientAnswer:
        return ClientAnswer(self.send, self)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def send(self, message: Any) -> None:
        self.messages.append(message)


async def test_headers_of_the_connection_stay_and_the_route_is_added() -> None:
    client = Client()
    headers = [(b"content-type", b"a/b"), (b"transfer-encoding", b"chunked"), (b"x-request-id", b"theirs")]
    await client.answer.start(200, headers, b"why")
    (head,) = client.messages
    assert head["headers"] == [(b"content-type", b"a/b"), (b"x-octavo-route", b"why")]


async def test_an_error_has_a_status_as_long_as_there_is_none() -> None:
    client = Client()
    await client.answer.fail(ERROR)
    assert client.messages[0]["status"] == 502 and b"It broke." in client.messages[1]["body"]


async def test_in_a_stream_an_error_is_an_event_of_its_own() -> None:
    client = Client()
    answer = client.answer
    await answer.start(200, [(b"content-type", b"text/event-stream; charset=utf-8")], b"")
    assert answer.write(b"data: half an ev")
    await answer.fail(ERROR)
    assert client.written == [b"data: half an ev"]
    assert client.messages[-1]["body"] == b"\n\n" + ERROR.event and answer.has_ended
    await answer.fail(ERROR)
    assert len(client.messages) == 2


async def test_another_body_is_left_unfinished() -> None:
    client = Client()
    answer = client.answer
    await answer.start(200, [(b"content-type", b"application/json")], b"")
    await answer.fail(ERROR)
    assert len(client.messages) == 1 and not answer.has_ended


@pytest.mark.parametrize(("kind", "has_length"), ((b"text/event-stream", False), (b"a/b", True)))
async def test_a_stream_has_no_length_and_a_whole_answer_keeps_it(kind: bytes, has_length: bool) -> None:
    client = Client()
    await client.answer.start(200, [(b"content-type", kind), (b"content-length", b"5")], b"")
    assert (b"content-length" in dict(client.messages[0]["headers"])) == has_length


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
