"""A path at which there is nothing is told what is near."""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from octavo.http.wrong_path import complaint_about, nearest_path, public_paths

KNOWN = ["/", "/v1", "/v1/chat/completions", "/v1/completions", "/v1/models", "/score", "/v1/score", "/livez"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/models", "/v1/models"),
        ("/proxy/v1/completions/", "/v1/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/live", "/livez"),
        ("/", None),
        ("//", None),
        ("/api/tags", None),
        ("/" + "x" * 100_000, None),
    ],
)
def test_what_is_near(path: str, expected: str | None) -> None:
    assert nearest_path(path, KNOWN) == expected


async def nothing(request: Request) -> Response:
    raise AssertionError


ROUTES = [Route(path, nothing) for path in ("/v1/models", "/v1/models/{name}", "/octavo/v1/model")]


def test_what_is_private_or_has_variable_parts_is_not_told() -> None:
    assert public_paths(ROUTES) == ["/v1/models"]


def test_the_sentence() -> None:
    assert (
        complaint_about("/models", ROUTES) == "There is nothing at '/models'; the nearest path is /v1/models."
    )
    assert complaint_about("/x", ROUTES) == "There is nothing at '/x'."
    assert complaint_about("/x", ROUTES, "look elsewhere.") == "There is nothing at '/x'; look elsewhere."
