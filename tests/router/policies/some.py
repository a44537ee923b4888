"""Endpoints and requests for the tests of policies: nothing is connected."""

from typing import Any

from octavo.router.endpoints import Endpoint
from octavo.router.routed_head import RoutedHead
from octavo.router.routed_request import RoutedRequest


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(f"http://h{number}:1", name=f"r{number}") for number in range(count)]


def request(**fields: Any) -> RoutedRequest:
    defaults: dict[str, Any] = {
        "id": "id", "path": "/v1/completions", "model": "m", "is_stream": False, "body": b"",
        "num_prompt_tokens": 100,
    }  # fmt: skip
    head = RoutedHead(**{name: fields.pop(name) for name in RoutedHead.__struct_fields__ if name in fields})
    return RoutedRequest(**{**defaults, "head": head, **fields})
