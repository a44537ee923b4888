"""Seen through the server's and the router's own endpoints; here, what Starlette itself raises."""

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

from octavo.http.responses import exception_handlers, json_response

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(("status", "code"), ((404, "not_found"), (405, "method_not_allowed")))
async def test_starlettes_own_errors_look_like_ours(status: int, code: str) -> None:
    error = HTTPException(status, headers={"Allow": "POST"} if status == 405 else None)
    scope = {"type": "http", "method": "GET", "path": "/nothing", "app": Starlette()}
    response = await exception_handlers()[HTTPException](Request(scope), error)
    assert response.status_code == status and f'"code":"{code}"'.encode() in response.body
    assert (response.headers.get("allow") == "POST") == (status == 405)


async def test_json_has_its_type() -> None:
    response = json_response({"a": 1}, 503)
    assert (response.status_code, response.body) == (503, b'{"a":1}')
    assert response.headers["content-type"] == "application/json"
