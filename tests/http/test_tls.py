"""HTTPS with a certificate of one's own; a bad one is known before anything is loaded."""

import asyncio
import pathlib
import ssl

import pytest

from octavo.core.errors import StartError
from octavo.http.http_server import HttpServer
from octavo.http.listener import listen
from octavo.http.tls import Tls
from tests.fakes import FakeEngine, fake_replica

BOTH = pathlib.Path(__file__).with_name("localhost.pem")  # certificate and key, of this test only


def test_without_a_certificate_it_is_plain_http() -> None:
    assert Tls.of(None, None) is None


def test_certificate_and_key_are_in_one_file_or_two(tmp_path: pathlib.Path) -> None:
    text = BOTH.read_text()
    key = tmp_path / "key"
    key.write_text(text[text.index("-----BEGIN PRIVATE KEY") :])
    assert Tls.of(BOTH, None) == Tls(BOTH)
    assert Tls.of(BOTH, key) == Tls(BOTH, key)


@pytest.mark.parametrize(
    ("certificate", "key", "complaint"),
    (
        (None, BOTH, "--ssl-keyfile needs --ssl-certfile"),
        (pathlib.Path("/no/such/file"), None, "--ssl-certfile or --ssl-keyfile: No such file or directory"),
        (pathlib.Path(__file__), None, "cannot be used with its key"),
        (BOTH, pathlib.Path(__file__), "cannot be used with its key"),
    ),
)
def test_what_cannot_be_used_is_said(
    certificate: pathlib.Path | None, key: pathlib.Path | None, complaint: str
) -> None:
    with pytest.raises(StartError, match=complaint):
        Tls.of(certificate, key)


@pytest.mark.asyncio
async def test_a_server_speaks_https_and_nothing_else() -> None:
    server = HttpServer.of(fake_replica(FakeEngine()).app, Tls.of(BOTH, None))
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.001)
    address = listener.getsockname()
    reader, writer = await asyncio.open_connection(*address, ssl=ssl.create_default_context(cafile=BOTH))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()
    server.should_exit = True
    await serving
