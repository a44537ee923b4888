"""Endpoints and requests for the tests of policies: nothing is connected."""

from typing import Any

from octavo.router.endpoints import Endpoint
from octavo.router.routed_request import RoutedRequest


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(f"http://h{number}:1", name=f"r{number}") for number in range(count)]


def request(**fields: Any) -> RoutedRequest:
    defaults: dict[str, Any] = {
        "id": "id", "path": "/v1/completions", "model": "m", "is_stream": False, "body": b"", "headers": (),
        "num_prompt_tokens": 100,
    }  # fmt: skip
    return RoutedRequest(**{**defaults, **fields})
