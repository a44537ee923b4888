from typing import Any

import pytest

from octavo.http.errors import ErrorAnswer
from octavo.router.client_answer import ClientAnswer

pytestmark = pytest.mark.asyncio

ERROR = ErrorAnswer("endpoint_failed", "It broke.")


class Client:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)


async def test_headers_of_the_connection_stay_and_the_route_is_added() -> None:
    client = Client()
    headers = [(b"content-type", b"a/b"), (b"transfer-encoding", b"chunked"), (b"x-request-id", b"theirs")]
    await ClientAnswer(client.send).start(200, headers, b"why")
    (head,) = client.messages
    assert head["headers"] == [(b"content-type", b"a/b"), (b"x-octavo-route", b"why")]


async def test_an_error_has_a_status_as_long_as_there_is_none() -> None:
    client = Client()
    await ClientAnswer(client.send).fail(ERROR)
    assert client.messages[0]["status"] == 502 and b"It broke." in client.messages[1]["body"]


async def test_in_a_stream_an_error_is_an_event_of_its_own() -> None:
    client = Client()
    answer = ClientAnswer(client.send)
    await answer.start(200, [(b"content-type", b"text/event-stream; charset=utf-8")], b"")
    await answer.write(b"data: half an ev")
    await answer.fail(ERROR)
    assert client.messages[-1]["body"] == b"\n\n" + ERROR.event and answer.has_ended
    await answer.fail(ERROR)
    assert len(client.messages) == 3


async def test_another_body_is_left_unfinished() -> None:
    client = Client()
    answer = ClientAnswer(client.send)
    await answer.start(200, [(b"content-type", b"application/json")], b"")
    await answer.fail(ERROR)
    assert len(client.messages) == 1 and not answer.has_ended
