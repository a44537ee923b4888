"""The frame around every chunk is valid JSON, whatever the model's name."""

import json

import pytest

from octavo.server.dialect import Envelope
from octavo.server.schema import PromptTokensDetails, Usage

USAGE = Usage(3, 2, 5, PromptTokensDetails(1))


def envelope(*, includes_usage: bool) -> Envelope:
    return Envelope("id-1", 1_700_000_000, 'a "quoted" name', "fp_1", includes_usage)


def data(event: bytes) -> dict[str, object]:
    assert event.startswith(b"data: ") and event.endswith(b"\n\n")
    content: dict[str, object] = json.loads(event[len(b"data: ") :])
    return content


@pytest.mark.parametrize("includes_usage", (True, False))
def test_head_and_tail_frame_the_choices(includes_usage: bool) -> None:
    framed = envelope(includes_usage=includes_usage)
    chunk = data(framed.head("kind") + b',"choices":[1]' + framed.tail)
    assert chunk.pop("choices") == [1]
    assert ("usage" in chunk) is includes_usage
    chunk.pop("usage", None)
    assert chunk == {
        "id": "id-1",
        "object": "kind",
        "created": 1_700_000_000,
        "model": 'a "quoted" name',
        "system_fingerprint": "fp_1",
    }


def test_the_usage_chunk_has_no_choices() -> None:
    chunk = data(envelope(includes_usage=True).last_chunk("kind", USAGE, None))
    assert chunk["choices"] == []
    assert chunk["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
