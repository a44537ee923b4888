"""A port that is kept for one process after the other."""

import socket

import pytest

from octavo.core.errors import StartError
from octavo.fleet.ports import ReservedPort
from octavo.http.listener import listen


def test_a_reserved_port_refuses_until_its_process_listens_and_again_after() -> None:
    port = ReservedPort("127.0.0.1", 0)
    assert port.url == f"http://127.0.0.1:{port.number}"
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.number))
        with (
            listen("127.0.0.1", port.number) as listener,
            socket.create_connection(("127.0.0.1", port.number)),
        ):
            listener.accept()[0].close()
    port.release()


def test_a_port_that_is_taken_is_named() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        pytest.raises(StartError, match=r"Port \d+ on 127.0.0.1 is taken"),
    ):
        ReservedPort("127.0.0.1", listener.getsockname()[1])


def test_an_ipv6_address_stands_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    port = ReservedPort("::1", 0)
    assert port.url == f"http://[::1]:{port.number}"
    port.release()
