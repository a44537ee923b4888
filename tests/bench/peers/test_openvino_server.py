"""The server around OpenVINO's pipeline, with a pipeline of the test in its place."""

import asyncio
import collections
import importlib
import sys
import time
import types
from typing import Any

import pytest

from octavo.bench.answer import Record
from octavo.bench.client import BaseUrl, Client
from octavo.bench.sender import Sender, first_model
from octavo.bench.workload import Request
from tests.bench.peers.test_server import free_port


class FakeHandle:
    def __init__(self, prompt: list[int], count: int) -> None:
        self.left = collections.deque(range(count))
        self.ready: list[int] = []
        self.prompt = prompt

    def can_read(self) -> bool:
        return bool(self.ready)

    def read(self) -> dict[int, Any]:
        ids, self.ready = self.ready, []
        return {0: types.SimpleNamespace(generated_ids=ids)}

    def get_status(self) -> str:
        return "running" if self.left else "finished"


class FakePipeline:
    def __init__(self) -> None:
        self.live: list[FakeHandle] = []
        self.most = 0

    def add_request(self, number: int, ids: Any, config: Any) -> FakeHandle:
        assert config.ignore_eos and not config.do_sample
        self.live.append(FakeHandle(ids.tolist()[0], config.max_new_tokens))
        return self.live[-1]

    def step(self) -> None:
        self.live = [handle for handle in self.live if handle.left]
        self.most = max(self.most, len(self.live))
        for handle in self.live:
            handle.ready.append(handle.left.popleft())

    def get_tokenizer(self) -> Any:
        return types.SimpleNamespace(decode=lambda ids: "" if 1 in ids else f"<{ids[0]}>")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    genai = types.ModuleType("openvino_genai")
    genai.GenerationConfig = types.SimpleNamespace  # type: ignore[attr-defined]
    genai.GenerationStatus = types.SimpleNamespace(RUNNING="running")  # type: ignore[attr-defined]
    openvino = types.ModuleType("openvino")
    openvino.Tensor = lambda array: array  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino_genai", genai)
    monkeypatch.setitem(sys.modules, "openvino", openvino)
    name = "octavo.bench.peers.openvino_server"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.mark.asyncio
async def test_answers_are_whole_and_computed_together(module: Any) -> None:
    pipeline, port = FakePipeline(), free_port()
    server = asyncio.create_task(module.serve(pipeline, port))
    client = Client(BaseUrl(f"127.0.0.1:{port}"), None, time.perf_counter)
    while True:
        try:
            assert await first_model(client) == "openvino"
            break
        except Exception:
            await asyncio.sleep(0.01)
    sender = Sender(client, "openvino", "completions", True, 60.0, time.perf_counter)

    async def ask(count: int) -> tuple[Record, str]:
        record = Record(0.0)
        text = await sender.send(Request([7, 8, 9], count), record)
        return record, text

    answers = await asyncio.gather(*(ask(count) for count in (1, 3, 5)))
    for (record, text), count in zip(answers, (1, 3, 5), strict=True):
        assert record.failure is None
        assert (record.num_prompt_tokens, record.num_output_tokens) == (3, count)
        assert text.startswith("<0>") and len(record.gaps) <= count - 1
    assert [handle.prompt for handle in pipeline.live] == [[7, 8, 9]] * len(pipeline.live)
    client.close()
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server
