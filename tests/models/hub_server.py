"""A stand-in for a Hugging Face hub: the routes octavo uses, over real HTTP, with ranges and accidents."""

import asyncio
import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from octavo.http.listener import listen

CHUNK_BYTES = 1 << 12


@dataclasses.dataclass
class Repository:
    """files at its one commit. cut_after: bytes a connection carries before it breaks, once per entry."""

    files: dict[str, bytes]
    commit: str = "c" * 40
    licence: str = "apache-2.0"
    cut_after: list[int] = dataclasses.field(default_factory=list)
    has_ranges: bool = True


class Hub:
    """requests: what was asked of it, (file or "info", first byte). is_held: transfers stop half-way."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, int]] = []
        self.is_gated = False
        self.is_held = False
        self.url = ""

    def info(self, request: Request) -> Response:
        repository = self._repository(request)
        self.requests.append(("info", 0))
        if self.is_gated:
            return JSONResponse({}, 403, headers={"X-Error-Code": "GatedRepo"})
        if repository is None:
            return JSONResponse({}, 404, headers={"X-Error-Code": "RepoNotFound"})
        if request.path_params.get("revision", "main") not in ("main", "v1"):
            return JSONResponse({}, 404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [_sibling(name, content) for name, content in repository.files.items()]
        card = {"license": repository.licence}
        return JSONResponse(
            {"id": "org/name", "sha": repository.commit, "siblings": siblings, "cardData": card}
        )

    def file(self, request: Request) -> Response:
        repository, name = self._repository(request), request.path_params["file"]
        assert repository is not None and request.path_params["revision"] == repository.commit
        content = repository.files[name]
        given = request.headers.get("range") if repository.has_ranges else None
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
        self.requests.append((name, start))
        end = start + repository.cut_after.pop(0) if repository.cut_after else len(content)
        headers = {"Content-Length": str(len(content) - start)}
        body = self._body(content[start:end], is_whole=end >= len(content))
        return StreamingResponse(body, 206 if start else 200, headers=headers)

    def _repository(self, request: Request) -> Repository | None:
        return self.repositories.get(f"{request.path_params['org']}/{request.path_params['name']}")

    async def _body(self, content: bytes, is_whole: bool) -> AsyncIterator[bytes]:
        for at in range(0, len(content), CHUNK_BYTES):
            while self.is_held and at > len(content) // 2:
                await asyncio.sleep(0.01)
            yield content[at : at + CHUNK_BYTES]
        if not is_whole:
            raise ConnectionError("the cable is cut")


def _sibling(name: str, content: bytes) -> dict[str, object]:
    """Large files lie in LFS and have a SHA-256, small ones are git's own blobs."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith((".safetensors", ".gguf")):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 1}
    return entry


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    routes = [
        Route("/api/models/{org}/{name}", hub.info),
        Route("/api/models/{org}/{name}/revision/{revision}", hub.info),
        Route("/{org}/{name}/resolve/{revision}/{file:path}", hub.file),
    ]
    listener = listen("127.0.0.1", 0)
    hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield hub
    finally:
        hub.is_held = False
        server.should_exit = True
        thread.join()
        listener.close()
