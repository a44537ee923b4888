"""Each kind of error has its status, type and code."""

import json

import pytest

from octavo.core.errors import (
    EngineError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
)
from octavo.http.errors import HttpError, answer_to, shutting_down

CASES = (
    (InvalidRequestError("m", param="p"), 400, "invalid_request_error", "p", "invalid_value"),
    (InvalidRequestError("m", code="invalid_json"), 400, "invalid_request_error", None, "invalid_json"),
    (OverloadedError("m", retry_after_seconds=3), 503, "overloaded_error", None, "server_overloaded"),
    (EngineError("m"), 500, "server_error", None, "engine_error"),
    (HttpError("request_timeout", "m"), 408, "invalid_request_error", None, "request_timeout"),
)


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"), CASES, ids=lambda value: str(value)[:20]
)
def test_an_error_is_told_as_what_it_is(
    error: Exception, status: int, kind: str, param: str | None, code: str
) -> None:
    answer = answer_to(error)
    assert answer.status == status
    assert json.loads(answer.body) == {"error": {"message": "m", "type": kind, "param": param, "code": code}}
    assert answer.event == b"data: " + answer.body + b"\n\n"


def test_a_model_that_is_not_there_is_told_with_those_that_are() -> None:
    answer = answer_to(ModelNotFoundError("x" * 200, ("a", "b")))
    assert (answer.status, answer.code, answer.param) == (404, "model_not_found", "model")
    assert answer.message == f"There is no model '{'x' * 80}' here. Served: a, b."


def test_a_defect_keeps_its_details() -> None:
    answer = answer_to(KeyError("/home/secret"))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("error", "hint"),
    (
        (OverloadedError("m", retry_after_seconds=3), b"true"),
        (HttpError("endpoint_failed", "m"), b"true"),
        (HttpError("request_failed_repeatedly", "m"), b"false"),
        (EngineError("m"), b"false"),
    ),
)
def test_clients_are_told_whether_to_try_again(error: Exception, hint: bytes) -> None:
    assert dict(answer_to(error).all_headers)[b"x-should-retry"] == hint


def test_who_shuts_down_sends_clients_to_another_connection() -> None:
    answer = shutting_down("m")
    assert (answer.status, answer.code) == (503, "shutting_down")
    assert answer.headers == ((b"retry-after", b"5"), (b"connection", b"close"))


def test_overload_says_when_to_come_back() -> None:
    assert dict(answer_to(OverloadedError("m", retry_after_seconds=3)).all_headers)[b"retry-after"] == b"3"
