"""What an answer that came whole says of its prompt, by the names of whichever API it speaks."""

import msgspec

from octavo.http.body import UNREADABLE


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens_details: _Details | None = None  # completions and chats
    input_tokens_details: _Details | None = None  # /v1/responses
    cache_read_input_tokens: int | None = None  # /v1/messages


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_DECODER = msgspec.json.Decoder(_Answer)


def cached_tokens(body: bytes) -> int | None:
    """How many of the prompt's tokens were in the endpoint's cache; None: the answer does not say."""
    try:
        usage = _DECODER.decode(body).usage
    except UNREADABLE:
        return None
    if usage is None:
        return None
    details = usage.prompt_tokens_details or usage.input_tokens_details
    return usage.cache_read_input_tokens if details is None else details.cached_tokens
