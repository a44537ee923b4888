"""From a request to its record."""

import pytest

from octavo.bench.answer import Record
from octavo.bench.client import ExchangeError, OnEvent
from octavo.bench.sender import Sender, first_model
from octavo.bench.workload import Content, Request
from octavo.core.errors import StartError
from tests.bench.scripted_server import ScriptedServer
from tests.bench.virtual_loop import now, run_virtually


def send(server: ScriptedServer, content: Content = "hello", **options: object) -> Record:
    settings = {"model": "m", "api": "completions", "ignore_eos": True, "timeout_seconds": 5.0, "clock": now}

    async def main() -> Record:
        record = Record(now())
        await Sender(server, **settings | options).send(Request(content, 4), record)  # type: ignore[arg-type]
        return record

    return run_virtually(main())


def test_a_completion_is_asked_for() -> None:
    server = ScriptedServer()
    record = send(server, [5, 6])
    assert server.bodies == [
        {
            "model": "m", "prompt": [5, 6], "max_tokens": 4, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "ignore_eos": True,
        }
    ]  # fmt: skip
    assert record.failure is None and record.num_output_tokens == 4
    assert record.end == pytest.approx(0.13) and record.sent == 0


def test_a_chat_is_asked_for() -> None:
    server = ScriptedServer()
    messages = [{"role": "user", "content": "hello"}]
    send(server, messages, api="chat", ignore_eos=False)
    assert server.bodies[0]["messages"] == messages
    assert not {"prompt", "ignore_eos"} & server.bodies[0].keys()


def test_a_refusal_is_a_failure() -> None:
    record = send(ScriptedServer(refused=frozenset({0})))
    assert record.failure == "HTTP 429" and record.end == 0


def test_an_answer_that_takes_too_long_is_a_failure() -> None:
    record = send(ScriptedServer(first=2.0, gap=2.0))
    assert record.failure == "timeout" and record.end == pytest.approx(5.0)


def test_the_first_model_that_is_listed_is_taken() -> None:
    assert run_virtually(first_model(ScriptedServer())) == "scripted"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b'{"data":[]}', "lists no model"),
        (b"<html>", "lists no model"),
        (ExchangeError("connect"), "cannot be reached"),
        (ExchangeError("HTTP 404"), r"does not list its models \(HTTP 404\)"),
    ],
)
def test_a_server_that_lists_none_is_complained_about(answer: bytes | ExchangeError, complaint: str) -> None:
    class Silent:
        async def get(self, path: str) -> bytes:
            if isinstance(answer, bytes):
                return answer
            raise answer

        async def post(self, path: str, body: bytes, on_event: OnEvent) -> None:
            raise AssertionError

    with pytest.raises(StartError, match=complaint):
        run_virtually(first_model(Silent()))
