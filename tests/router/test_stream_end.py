"""What ends a stream, however it is cut into pieces."""

import pytest

from octavo.router.stream_end import StreamEnd

CHAT, LEGACY, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
GOES_ON = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
FINISHED = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
QUOTED = (
    rb'data: {"choices":[{"delta":{"content":"\n\ndata: [DONE]\n \"finish_reason\":\"stop\" \"message_stop\"'
)
QUOTED += b'"},"finish_reason":null}]}\n\n'


@pytest.mark.parametrize("size", (1, 7, 1000))
@pytest.mark.parametrize(
    ("path", "stream", "has_come", "is_error"),
    [
        (CHAT, GOES_ON + FINISHED + DONE, True, False),
        (LEGACY, GOES_ON + DONE, True, False),
        (CHAT, (GOES_ON + b"data:[DONE]\n\n").replace(b"\n", b"\r\n"), True, False),
        (CHAT, GOES_ON + FINISHED + USAGE, True, False),
        (CHAT, b"", False, False),
        (CHAT, GOES_ON, False, False),
        (CHAT, GOES_ON + USAGE, False, False),
        (CHAT, GOES_ON + b'data: {"choices":[{"text":"a","finish_reason":""}]}\n\n', False, False),
        (CHAT, FINISHED + GOES_ON.replace(b'"index":0', b'"index":1'), False, False),  # another choice
        (CHAT, GOES_ON + FINISHED[:-20], False, False),
        (CHAT, QUOTED, False, False),
        (CHAT, QUOTED + DONE[:-4], False, False),
        (CHAT, GOES_ON + b'data: {"error":{"message":"no"}}\n\n', True, True),
        (CHAT, GOES_ON + b'error: {"message":"no"}\n\n', True, True),
        (RESPONSES, b'event: response.output_text.delta\ndata: {"delta":"a"}\n\n', False, False),
        (RESPONSES, b'data: {"type":"response.completed","x":"' + b"y" * 5000 + b'"}\n\n', True, False),
        (RESPONSES, b'event: response.incomplete\ndata: {"type": "response.incomplete"}\n\n', True, False),
        (MESSAGES, b'event: content_block_stop\ndata: {"type":"content_block_stop"}\n\n', False, False),
        (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True, False),
        (MESSAGES, b'event: error\ndata: {"type":"error"}\n\n', True, True),
        ("/v1/embeddings", b"data: 1\n\n", True, False),
    ],
)  # fmt: skip
def test_what_ends_a_stream(path: str, stream: bytes, has_come: bool, is_error: bool, size: int) -> None:
    end = StreamEnd(path)
    for start in range(0, len(stream), size):
        end.see(stream[start : start + size])
    assert (end.has_come, end.is_error) == (has_come, is_error)
