"""Hostile requests beside witnesses, on the simulated engine, over real sockets: arena.py's invariants hold.

The rows are hostile_rows.py's; here are those that take more than bytes: who leaves, who floods, who idles.
"""

import asyncio
import dataclasses
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from octavo.http.api_keys import ApiKey, KeyLimits
from octavo.http.key_ring import KeyRing
from tests.fakes import FakeEngine, fake_replica
from tests.over_socket import over_socket
from tests.server.arena import Arena, CodeAlarm, arena, check_one_answer, text_of
from tests.server.hostile_rows import COMPLETIONS, FIELD_ROWS, GOOD_BODY, HTTP_ROWS, JSON_ROWS, Case
from tests.server.hostile_shapes import PROMPT_ROWS, SHAPE_ROWS
from tests.server.raw_client import Answer, exchange, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = {**JSON_ROWS, **HTTP_ROWS, **FIELD_ROWS, **SHAPE_ROWS, **PROMPT_ROWS}
FEATURES: dict[str, dict[str, Any]] = {
    "choices": {"n": 3},
    "greedy": {"temperature": 0},
    "top": {"top_k": 5, "top_p": 0.5, "min_p": 0.1},
    "penalties": {"presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5},
    "bias": {"logit_bias": {"7": 50, "8": -100}},
    "allowed": {"allowed_token_ids": [65, 66, 67]},
    "stop": {"stop": ["A", "zz"]},
    "stop tokens": {"stop_token_ids": [65]},
    "no end": {"ignore_eos": True, "min_tokens": 5},
    "salt": {"cache_salt": "s"},
    "logprobs": {"logprobs": 2},
    "prompt logprobs": {"prompt_logprobs": 1},
    "echo": {"echo": True},
    "banned": {"bad_words": ["ab"]},
    "cut": {"truncate_prompt_tokens": 2},
    "cut at the end": {"truncate_prompt_tokens": 2, "truncation_side": "right"},
    "guided": {"guided_regex": "[A-Ca-c]{3,20}"},
    "ids": {"return_token_ids": True},
    "control tokens": {"skip_special_tokens": False},
    "several prompts": {"prompt": ["abc" * 20, "abd" * 20]},
    "token ids": {"prompt": list(range(40))},
}


@pytest.fixture(scope="module")
def alarm() -> CodeAlarm:
    return CodeAlarm()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(alarm: CodeAlarm) -> AsyncIterator[Arena]:
    async with arena(alarm) as place:
        yield place


async def run(place: Arena, case: Case) -> None:
    port = getattr(place, case.server).port
    answers = await exchange(port, *case.pieces, pause=case.pause, half_close=case.half_close)
    assert answers, f"no answer to {case.name}"
    answer = answers[-1]
    assert answer.status in case.statuses, (case.name, answer)
    check_one_answer(answer)
    error = answer.json["error"] if answer.status >= 400 and answer.body else {}
    assert case.code is None or error["code"] == case.code, (case.name, error)
    if case.param is not None and answer.status == 400:
        assert str(error["param"]).startswith(case.param), (case.name, error)


@pytest.mark.parametrize("row", ROWS)
async def test_a_hostile_request_gets_its_answer_and_harms_nobody(place: Arena, row: str) -> None:
    async with place.trial():
        await asyncio.gather(*(run(place, case) for case in ROWS[row]))


@pytest.mark.parametrize("row", ROWS)
async def test_through_a_router_it_is_the_same(place: Arena, row: str) -> None:
    cases = [dataclasses.replace(case, server="routed") for case in ROWS[row] if case.server == "patient"]
    async with place.trial():
        await asyncio.gather(*(run(place, case) for case in cases))


async def post(port: int, body: dict[str, Any], *headers: tuple[str, str]) -> Answer:
    (answer,) = await exchange(port, request(COMPLETIONS, json.dumps(body).encode(), headers))
    check_one_answer(answer)
    return answer


async def test_any_two_features_together_are_answered_the_same_streamed_and_whole(place: Arena) -> None:
    """B-48"""

    async def ask(pair: tuple[str, str]) -> None:
        body = {"model": "tiny", "prompt": "hi", "max_tokens": 8, "seed": 3}
        body |= FEATURES[pair[0]] | FEATURES[pair[1]]
        whole, streamed = [await post(place.patient.port, {**body, "stream": s}) for s in (False, True)]
        assert whole.status == 200, (pair, whole)
        assert streamed.status == 200, (pair, streamed)
        assert texts_of(whole) == texts_of(streamed), pair

    async with place.trial():
        await asyncio.gather(*map(ask, itertools.combinations(FEATURES, 2)))


def texts_of(answer: Answer) -> list[str]:
    """By choice, in order."""
    texts = []
    for index in range(8):
        body = answer.body
        if answer.headers["content-type"] == "application/json":
            choices = [choice for choice in answer.json["choices"] if choice["index"] == index]
            body = json.dumps({"choices": choices}).encode() if choices else b""
        else:
            events = [event for event in answer.events if f'"index":{index},' in event]
            body = "".join(f"data: {event}\n\n" for event in events).encode()
        if body:
            texts.append(text_of(dataclasses.replace(answer, body=body)))
    return texts


async def test_clients_that_leave_at_any_point_leave_nothing_behind(place: Arena) -> None:
    """F-24"""

    async def leave(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.patient.port)
        body = {"model": "tiny", "prompt": "x" * number, "max_tokens": 50, "stream": number % 3 > 0}
        whole = request(COMPLETIONS, json.dumps(body).encode())
        num_sent = len(whole) if number % 4 else len(whole) * number // 100
        writer.write(whole[:num_sent])
        if num_sent == len(whole) and number % 3:
            await reader.read(number)
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()

    async with place.trial():
        await asyncio.gather(*map(leave, range(1, 100)))


async def test_two_hundred_sockets_that_dawdle_hold_up_nobody(place: Arena) -> None:
    """B-09, B-52"""
    idle = request("/livez", method="GET", close=False)
    beginnings = (b"", b"GET / HT", request(COMPLETIONS, GOOD_BODY)[:-5], idle)
    async with place.trial():
        sockets = [await asyncio.open_connection("127.0.0.1", place.patient.port) for _ in range(200)]
        for (_, writer), beginning in zip(sockets, itertools.cycle(beginnings), strict=False):
            writer.write(beginning)
        (answer,) = await exchange(place.patient.port, request(COMPLETIONS, GOOD_BODY))
        assert answer.status == 200
        for _, writer in sockets:
            writer.transport.abort()


async def test_a_hundred_requests_in_one_packet_are_answered_in_turn(place: Arena) -> None:
    """B-52"""
    paths = [f"/v1/models/{index}" for index in range(99)]
    packet = b"".join(request(path, method="GET", close=False) for path in paths)
    async with place.trial():
        answers = await exchange(place.patient.port, packet + request("/version", method="GET"))
    assert [answer.status for answer in answers] == [404] * 99 + [200]
    assert all(f"'{index}'" in answers[index].body.decode() for index in range(99))


async def test_over_its_quota_a_key_is_told_when_to_come_back(place: Arena, tmp_path: Any) -> None:
    """B-53"""
    path = tmp_path / "keys"
    path.write_text(ApiKey.of("secret", "a", KeyLimits(requests_per_minute=1)).line)
    replica = fake_replica(place.engine, key_ring=KeyRing.of(None, path))
    async with place.trial(), over_socket(replica.app) as limited:
        place.alarm.allowed_ports.add(limited.port)
        body, key = json.loads(GOOD_BODY), ("Authorization", "Bearer secret")
        answers = [await post(limited.port, body, key) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert 1 <= int(answers[1].headers["retry-after"]) <= 60


async def test_a_full_server_sends_clients_away_at_once(place: Arena) -> None:
    """B-54"""
    engine = FakeEngine()
    engine.is_full = True
    async with place.trial(), over_socket(fake_replica(engine).app) as full:
        place.alarm.allowed_ports.add(full.port)
        for is_stream in (False, True):
            answer = await post(full.port, {**json.loads(GOOD_BODY), "stream": is_stream})
            assert (answer.status, answer.json["error"]["code"]) == (503, "server_overloaded")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.headers["x-should-retry"] == "true"


async def test_a_server_that_drains_sends_clients_elsewhere(place: Arena) -> None:
    """B-55"""
    replica = fake_replica(place.engine)
    replica.drain.begin()
    async with place.trial(), over_socket(replica.app) as drained:
        place.alarm.allowed_ports.add(drained.port)
        answer = await post(drained.port, json.loads(GOOD_BODY))
    assert (answer.status, answer.json["error"]["code"]) == (503, "shutting_down")
    assert answer.headers["retry-after"] and answer.headers["connection"] == "close"


async def test_the_alarm_hears_what_it_should(place: Arena) -> None:
    with pytest.raises(AssertionError), place.alarm.armed():
        compile("1", "x", "eval")
    with place.alarm.armed():
        pass
