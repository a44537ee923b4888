"""Both ends of a connection, of which one vanishes."""

import errno
import socket

import pytest

from octavo.http.silence import limit_silence
from tests.deaf import deafen


@pytest.mark.parametrize("is_accepted", [True, False])
@pytest.mark.parametrize("data", [b"", b"a token"])
def test_a_vanished_peer_is_noticed(data: bytes, is_accepted: bool) -> None:
    """Whether something is under way to it or not, by who has connected and by who has accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit_silence(listener, 1)
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
            limit_silence(client, 1)
            watching, vanished = (server, client) if is_accepted else (client, server)
            deafen(vanished)
            watching.sendall(data)
            watching.settimeout(20)
            with pytest.raises(OSError) as error:
                watching.recv(1)
    assert error.value.errno == errno.ETIMEDOUT


def test_a_peer_that_is_silent_and_there_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit_silence(listener, 1)
        with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
            server.sendall(b"a token")  # which nobody reads
            server.settimeout(3)
            with pytest.raises(TimeoutError):
                server.recv(1)
            client.sendall(b"x")
            assert server.recv(1) == b"x"
