"""Every error the server answers with, by its code: the status, what it means, and what a client can do.

One table: errors.py takes the status from it, docs/errors.md prints it.
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorCode:
    """is_worth_a_retry: the same request may succeed in a while. No client has a part of an answer then."""

    status: int
    meaning: str
    remedy: str
    is_worth_a_retry: bool = False

    @property
    def type(self) -> str:
        """OpenAI's kind of error."""
        if self.status == 429:
            return "rate_limit_error"
        if self.status == 503:
            return "overloaded_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"


ERROR_CODES = {
    "invalid_json": ErrorCode(400, "the body is not JSON in UTF-8", "send JSON"),
    "invalid_value": ErrorCode(
        400, "a field has the wrong type, or a value out of range", "the message says what is allowed"
    ),
    "missing_required_parameter": ErrorCode(400, "a required field is not there", "send it"),
    "unsupported_parameter": ErrorCode(
        400,
        "a field asks for what octavo does not do",
        "leave it out",
    ),
    "unknown_parameter": ErrorCode(
        400,
        "a field that is not part of the API",
        "leave it out; `--unknown-fields warn` on the server lets such fields pass",
    ),
    "unsupported_content": ErrorCode(400, "a message holds something other than text", "send text"),
    "context_length_exceeded": ErrorCode(
        400, "prompt and `max_tokens` do not fit the context", "shorten the prompt, or ask for less"
    ),
    "grammar_too_complex": ErrorCode(
        400,
        "following the grammar took more than its limits, at some point of the answer",
        "simplify it: fewer repetitions of repetitions; the message says which limit",
    ),
    "no_token_allowed": ErrorCode(
        400,
        "grammar, `allowed_token_ids`, bad words, `logit_bias` and `min_tokens` together exclude every token",
        "allow more",
    ),
    "invalid_http": ErrorCode(400, "what came is not HTTP/1.1", "look at the client or the proxy between"),
    "invalid_host": ErrorCode(
        400,
        "the `Host` header is missing, malformed, or none that the server goes by",
        "send the server's name; `--allowed-hosts` on the server lists it",
    ),
    "upgrade_not_supported": ErrorCode(400, "the request has an `Upgrade` header", "send it without"),
    "invalid_api_key": ErrorCode(
        401,
        "the key is missing or wrong",
        "send `Authorization: Bearer KEY`, `api-key: KEY` or `x-api-key: KEY`",
    ),
    "model_not_found": ErrorCode(404, "no such model is served", "the message lists the names; or `default`"),
    "not_found": ErrorCode(404, "nothing is at this path", "see the endpoints in [api.md](api.md)"),
    "method_not_allowed": ErrorCode(
        405, "the path does not take this method", "`Allow` lists the right ones"
    ),
    "request_timeout": ErrorCode(408, "head or body took more than 30 seconds", "send it faster", True),
    "request_too_large": ErrorCode(
        413, "the body is too long", "send less, or raise `--max-body-bytes` on the server"
    ),
    "url_too_long": ErrorCode(414, "the URL is longer than 8 KiB", "put parameters into the body"),
    "unsupported_media_type": ErrorCode(
        415, "the body is not `application/json`, or compressed", "send plain JSON, and say so"
    ),
    "rate_limit_exceeded": ErrorCode(
        429,
        "the key's share is used up: requests or tokens per minute, requests at once, places in the queue",
        "wait as long as `Retry-After` says; `x-ratelimit-*` tell what is left",
        True,
    ),
    "headers_too_large": ErrorCode(
        431, "more than 100 header fields, or more than 32 KiB of them", "send fewer"
    ),
    "resume_mismatch": ErrorCode(
        409, "a router sent another replica's answer that cannot go on here", "see [failover.md](failover.md)"
    ),
    "engine_error": ErrorCode(
        500,
        "the engine failed this request, or is gone for good",
        "the message says why; the same request would fail again",
    ),
    "internal_error": ErrorCode(500, "a defect of octavo", "report it; the server's log has the trace"),
    "endpoint_failed": ErrorCode(502, "a router's endpoint did not answer", "try again", True),
    "endpoint_broke_off": ErrorCode(
        502, "a router's endpoint broke off the stream, and is none that another can go on for", "ask again"
    ),
    "no_replica_to_resume": ErrorCode(
        502, "a replica is gone in mid-stream and none of the same model is left", "ask again"
    ),
    "request_failed_repeatedly": ErrorCode(
        502,
        "two endpoints failed on this request",
        "it may be what fails them: look at it before trying again",
    ),
    "answer_timeout": ErrorCode(
        504, "an answer took longer than the router allows", "ask for less, or raise its `--total-seconds`"
    ),
    "server_overloaded": ErrorCode(
        503, "the queue is full, or no endpoint is ready", "wait as long as `Retry-After` says", True
    ),
    "shutting_down": ErrorCode(503, "the server drains", "try another replica, or later", True),
}
