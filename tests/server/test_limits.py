"""Every limit of the table: what is just allowed passes, one more is refused as the table says."""

from typing import Any

import httpx2
import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from octavo.config import EngineConfig, ServerConfig
from octavo.core.errors import InvalidRequestError
from octavo.core.limits import LIMITS
from octavo.core.queue_bound import TENANT_SHARE
from octavo.core.sampling_params import MAX_LOGIT_BIAS, SamplingParams
from octavo.decoding.json_schema import MAX_NESTING, MAX_PROPERTIES
from octavo.decoding.lark import MAX_GRAMMAR_BYTES
from octavo.decoding.lark_parts import MAX_REGEX_LENGTH
from octavo.http.connection import MAX_PIPELINED, ConnectionLimits
from octavo.http.gate import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES
from octavo.http.http_server import KEEP_ALIVE_SECONDS
from octavo.server.bounds import MAX_LOGPROBS_TOLD, MAX_TOKEN_IDS
from octavo.server.decoder import MAX_MARKS
from octavo.server.prompts import MAX_CHARACTERS_PER_TOKEN, MAX_TOTAL_TOKENS
from octavo.server.relevance import MAX_DOCUMENTS
from octavo.server.replica import BODY_TIMEOUT_SECONDS
from octavo.server.tools import MAX_PARAMETERS_BYTES, MAX_TOOLS
from octavo.text.chat_template import TIME_LIMIT_SECONDS
from octavo.text.tool_grammar import MAX_CALLS
from tests.fakes import MAX_MODEL_LEN, FakeEngine, fake_replica
from tests.rules import ROOT
from tests.server.serving import asgi_client

MAX_BODY_BYTES = ServerConfig().max_body_bytes
COMPLETIONS = "/v1/completions"

Request = dict[str, Any]  # of httpx: method, url, json ...


def completion(**fields: Any) -> Request:
    return {
        "method": "POST",
        "url": COMPLETIONS,
        "json": {"model": "tiny", "prompt": "hi", "max_tokens": 1, **fields},
    }


def embeddings(count: int) -> Request:
    return {"method": "POST", "url": "/v1/embeddings", "json": {"model": "tiny", "input": ["a"] * count}}


def tokenize(**fields: Any) -> Request:
    return {"method": "POST", "url": "/tokenize", "json": fields}


def detokenize(num_tokens: int) -> Request:
    """A body with two marks more than tokens."""
    return {"method": "POST", "url": "/detokenize", "json": {"tokens": [97] * num_tokens}}


def get(url: str = "/livez", headers: dict[str, str] | None = None) -> Request:
    return {"method": "GET", "url": url, "headers": headers or {}}


def padded(num_bytes: int) -> Request:
    body = b'{"model":"tiny","prompt":"hi"}'
    headers = {"content-type": "application/json"}
    return {"method": "POST", "url": COMPLETIONS, "content": body.ljust(num_bytes), "headers": headers}


NUM_USUAL_HEADERS = 5  # that the client sends besides: host, accept, accept-encoding, connection, user-agent


def many_headers(count: int) -> Request:
    return get(headers={f"x-{index}": "" for index in range(count - NUM_USUAL_HEADERS)})


def messages(count: int) -> Request:
    return tokenize(messages=[{"role": "user", "content": "a"}] * count)


def metadata(count: int = 1, key: int = 8, value: int = 1) -> Request:
    return completion(metadata={f"{index:0{key}}": "x" * value for index in range(count)})


CHARACTERS = MAX_CHARACTERS_PER_TOKEN * MAX_MODEL_LEN
AT_THE_EDGE: dict[str, list[tuple[Request, Request]]] = {
    "body": [(padded(MAX_BODY_BYTES), padded(MAX_BODY_BYTES + 1))],
    "commas, colons and brackets in a body": [(detokenize(MAX_MARKS - 2), detokenize(MAX_MARKS - 1))],
    "URL": [(get("/livez?" + "a" * (MAX_URL_BYTES - 6)), get("/livez?" + "a" * (MAX_URL_BYTES - 5)))],
    "header fields": [
        (many_headers(MAX_HEADERS), many_headers(MAX_HEADERS + 1)),
        (
            get(headers={"x": "a" * (MAX_HEAD_BYTES - 500)}),
            get(headers={"x": "a" * MAX_HEAD_BYTES}),
        ),
    ],
    "prompt and answer": [
        (completion(prompt="a" * 60, max_tokens=4), completion(prompt="a" * 60, max_tokens=5)),
        (
            completion(prompt="a" * (MAX_MODEL_LEN - 1)),
            completion(prompt="a" * MAX_MODEL_LEN),
        ),
    ],
    "text of a prompt": [(tokenize(prompt="a" * CHARACTERS), tokenize(prompt="a" * (CHARACTERS + 1)))],
    "messages, their parts and calls": [(messages(MAX_MODEL_LEN), messages(MAX_MODEL_LEN + 1))],
    "prompts": [(completion(prompt=["a"] * 128), completion(prompt=["a"] * 129))],
    "inputs of embeddings": [(embeddings(2048), embeddings(2049))],
    "logprobs of one token": [
        (completion(**{field: 20}), completion(**{field: 21})) for field in ("logprobs", "prompt_logprobs")
    ],
    "bad_words": [
        (completion(bad_words=["a"] * 512), completion(bad_words=["a"] * 513)),
        (completion(bad_words=["a" + " " * 31]), completion(bad_words=["a" + " " * 256])),
        (completion(bad_words=["a" * 32]), completion(bad_words=["a" * 33])),
    ],
    "choices: n or best_of, times prompts": [
        (completion(best_of=128), completion(best_of=129)),
        (completion(n=128), completion(n=129)),
        (completion(prompt=["a", "b"], n=64), completion(prompt=["a", "b"], n=65)),
    ],
    "stop strings": [
        (completion(stop=["a"] * 64), completion(stop=["a"] * 65)),
        (completion(stop="a" * 1024), completion(stop="a" * 1025)),
    ],
    "stop_token_ids": [(completion(stop_token_ids=[1] * 64), completion(stop_token_ids=[1] * 65))],
    "cache_salt, user": [
        (completion(**{field: "a" * 256}), completion(**{field: "a" * 257}))
        for field in ("cache_salt", "user", "safety_identifier", "prompt_cache_key")
    ],
    "metadata": [
        (metadata(count=16), metadata(count=17)),
        (metadata(key=64), metadata(key=65)),
        (metadata(value=512), metadata(value=513)),
    ],
}
# Of time, and of many requests together: here is the number, and which test goes to the edge and beyond.
CONNECTION, ALLOWANCE = "tests/http/test_connection.py", "tests/http/test_allowance.py"
ELSEWHERE: dict[str, tuple[bool, str, str]] = {
    "chat template": (
        TIME_LIMIT_SECONDS == 1.0,
        *("tests/text/test_chat_template.py", "test_what_a_template_raises_is_the_requests_error"),
    ),
    "tokens of all prompts": (
        MAX_TOTAL_TOKENS == 1 << 21,
        *("tests/server/test_prompts.py", "test_the_tokens_of_all_prompts_are_bounded"),
    ),
    "token ids in fields, times choices": (
        MAX_TOKEN_IDS == 1 << 20,
        *("tests/server/test_bounds.py", "test_token_ids_of_all_choices_together"),
    ),
    "log-probabilities of all choices": (
        MAX_LOGPROBS_TOLD == 1 << 21,
        *("tests/server/test_bounds.py", "test_log_probabilities_of_all_choices_together"),
    ),
    "head or body on its way": (
        30 == ConnectionLimits().head_seconds == BODY_TIMEOUT_SECONDS,
        *(CONNECTION, "test_a_head_that_does_not_come_is_refused_in_time"),
    ),
    "unfinished head, trailers, chunk extension": (
        ConnectionLimits().max_head_bytes == 64 << 10,
        *(CONNECTION, "test_what_is_neither_a_whole_head_nor_a_body_is_refused_at_its_limit"),
    ),
    "answer left unread": (
        ConnectionLimits().stall_seconds == 60 and HIGH_WATER_LIMIT == 64 << 10,
        *("tests/server/test_endpoint.py", "test_who_does_not_read_holds_a_bounded_buffer_and_is_cut_off"),
    ),
    "connections": (
        True,
        *("tests/http/test_process.py", "test_as_many_files_may_be_open_as_the_system_allows"),
    ),
    "idle connection": (KEEP_ALIVE_SECONDS == 65, CONNECTION, "test_an_idle_connection_is_closed"),
    "requests sent ahead": (
        MAX_PIPELINED == 100,
        *(CONNECTION, "test_behind_a_hundred_requests_nothing_more_is_read"),
    ),
    "logit_bias": (
        MAX_LOGIT_BIAS == 1024,
        *("tests/server/test_limits.py", "test_biases_are_bounded_in_number"),
    ),
    "documents to score or rank": (
        MAX_DOCUMENTS == 1024,
        *("tests/server/test_relevance.py", "test_the_most_documents"),
    ),
    "tools": (
        (MAX_TOOLS, MAX_PARAMETERS_BYTES) == (128, 64 << 10),
        *("tests/server/test_tools.py", "test_a_limit_is_allowed"),
    ),
    "tool calls in a row, of an answer that has to call": (
        MAX_CALLS == 32,
        *("tests/server/test_answer_form.py", "test_parallel_calls_have_their_limits"),
    ),
    "JSON schema": (
        (MAX_NESTING, MAX_PROPERTIES) == (128, 1000),
        *("tests/decoding/test_json_schema.py", "test_limits"),
    ),
    "regular expression": (MAX_REGEX_LENGTH == 8192, "tests/decoding/test_lark.py", "test_limits"),
    "grammar": (MAX_GRAMMAR_BYTES == 256 << 10, "tests/decoding/test_lark.py", "test_limits"),
    "requests that run": (
        EngineConfig().max_num_seqs == 128,
        *("tests/scheduler/test_roster.py", "test_no_more_requests_run_than_there_are_slots"),
    ),
    "requests that wait": (
        EngineConfig().max_num_queued_requests == 1024,
        *("tests/engine/test_supervisor.py", "test_a_full_queue_refuses_and_a_probe_passes"),
    ),
    "requests of one key": (
        TENANT_SHARE == 8,
        *("tests/server/test_tenants.py", "test_a_crowd_with_one_key_holds_up_nobody_with_another"),
    ),
    "requests, tokens per minute": (
        True,
        *(ALLOWANCE, "test_so_many_requests_pass_at_once_then_one_each_time_there_is_room"),
    ),
    "requests at once": (
        True,
        *(ALLOWANCE, "test_requests_at_the_same_time_are_bounded_and_the_wait_is_estimated"),
    ),
}


def test_the_table_is_complete_and_true() -> None:
    assert AT_THE_EDGE.keys() | ELSEWHERE.keys() == {item.what for item in LIMITS}
    assert MAX_BODY_BYTES == 32 << 20 and MAX_URL_BYTES == 8 << 10
    assert MAX_HEADERS == 100 and MAX_HEAD_BYTES == 32 << 10 and MAX_CHARACTERS_PER_TOKEN == 64


@pytest.mark.parametrize("what", ELSEWHERE)
def test_a_limit_that_is_tested_elsewhere_is_the_table_s(what: str) -> None:
    is_true, path, name = ELSEWHERE[what]
    assert is_true and f"def {name}(" in (ROOT / path).read_text()


@pytest.mark.asyncio
@pytest.mark.parametrize("what", AT_THE_EDGE)
async def test_a_limit_is_where_the_table_says(what: str) -> None:
    beyond = next(item.beyond for item in LIMITS if item.what == what)
    async with asgi_client(fake_replica(FakeEngine(), max_body_bytes=MAX_BODY_BYTES)) as client:
        for allowed, refused in AT_THE_EDGE[what]:
            assert (await client.request(**allowed)).status_code == 200
            answer: httpx2.Response = await client.request(**refused)
            assert answer.status_code == int(beyond)
            assert answer.json()["error"]["message"].endswith(".")


def test_biases_are_bounded_in_number() -> None:
    SamplingParams(logit_bias=tuple((token, 1.0) for token in range(MAX_LOGIT_BIAS)))
    with pytest.raises(InvalidRequestError, match="logit_bias"):
        SamplingParams(logit_bias=tuple((token, 1.0) for token in range(MAX_LOGIT_BIAS + 1)))
