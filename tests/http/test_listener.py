"""The port is ours before anything is loaded, or the user learns why not."""

import socket

import pytest

from octavo.core.errors import StartError
from octavo.http.listener import CLIENT_SILENCE_SECONDS, listen, url_of


def test_a_free_port_is_found_and_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}/v1"
        assert url_of(listener, is_tls=True) == f"https://127.0.0.1:{port}/v1"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_client_that_vanishes_is_noticed() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        milliseconds = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert milliseconds == 1000 * CLIENT_SILENCE_SECONDS


def test_an_ipv6_address_is_in_brackets() -> None:
    try:
        listener = listen("::1", 0)
    except StartError:
        pytest.skip("no IPv6 here")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StartError, match=rf"^Port {port} on 127\.0\.0\.1 is taken; .*--port"):
            listen("127.0.0.1", port)
        with pytest.raises(StartError, match=r"choose another with --admin-port, or --admin-port 0"):
            listen("127.0.0.1", port, "--admin-port")


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(StartError, match=r"^192\.0\.2\.1 is not an address of this machine"):
        listen("192.0.2.1", 0)


def test_a_host_that_does_not_resolve_is_named() -> None:
    with pytest.raises(StartError, match=r"^--host no host cannot be resolved"):
        listen("no host", 0)
