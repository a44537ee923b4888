"""What the router reads of headers, and which ones an endpoint gets."""

import math

import pytest

from octavo.core.errors import InvalidRequestError
from octavo.http.headers import Header
from octavo.router.routed_head import HeadReader, RoutedHead


def read(*headers: Header, session_key: str | None = "X-Session") -> RoutedHead:
    return HeadReader(session_key).read({"headers": headers})


def test_headers_name_session_and_policy() -> None:
    head = read((b"x-session", b"s1"), (b"x-octavo-policy", b"round-robin"))
    assert (head.session, head.policy, head.queue_seconds) == ("s1", "round-robin", math.inf)
    assert read().session is None and read((b"x-session", b"s1"), session_key=None).session is None


def test_patience_is_the_clients() -> None:
    assert read((b"x-octavo-queue-seconds", b"1.5")).queue_seconds == 1.5


@pytest.mark.parametrize("text", (b"", b"soon", b"-1", b"nan"))
def test_a_wrong_patience_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="allowed: seconds, from 0"):
        read((b"x-octavo-queue-seconds", text))


def test_an_endpoint_gets_what_is_not_the_connections_nor_the_routers() -> None:
    """And it is not to compress: the end of a stream is read here."""
    forwarded = read(
        (b"host", b"router"), (b"authorization", b"Bearer k"), (b"connection", b"keep-alive"),
        (b"content-length", b"2"), (b"x-request-id", b"one"), (b"accept-encoding", b"gzip"),
        (b"x-octavo-secret", b"guess"), (b"user-agent", b"a/1"),
    ).forwarded  # fmt: skip
    assert forwarded == b"authorization: Bearer k\r\nuser-agent: a/1\r\naccept-encoding: identity\r\n"
