"""What the tests of connections ask a fake server."""

from octavo.router.upstream import Upstream
from octavo.router.upstream_connection import Answer

JSON = b'{"model":"tiny"}'
STREAM = b'{"model":"tiny","stream":true}'


async def post(client: Upstream, body: bytes = JSON, seconds: float = 5.0) -> Answer:
    return await client.request("POST", "/v1/completions", [(b"x-a", b"b")], body, seconds=seconds)
