"""Starting: the engine and the text side by side, nothing left behind when one of them fails."""

import asyncio
import dataclasses
import pathlib
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from octavo.config import EngineConfig, Environment, ServerConfig
from octavo.core.errors import ModelFileError, StartError
from octavo.server import replica
from octavo.server.boot_report import Phases
from octavo.server.options import ServeOptions
from tests.fakes import ByteChatTemplate, ByteTokenizer, ByteVocabulary, FakeEngine

pytestmark = pytest.mark.asyncio


def options(**server: Any) -> ServeOptions:
    environment = Environment(
        home=pathlib.Path("/"), api_key="from the environment", cpu_isa=None, log_level="info"
    )
    return ServeOptions(
        engine=EngineConfig(),
        server=ServerConfig(**server),
        environment=environment,
        model_path=pathlib.Path("/tiny.gguf"),
        model_name="tiny",
        is_terminal=False,
    )


def text_model(path: pathlib.Path) -> Any:
    tokenizer = ByteTokenizer()
    tokenizer.vocabulary = ByteVocabulary()  # type: ignore[attr-defined]
    return SimpleNamespace(tokenizer=tokenizer, chat_template=ByteChatTemplate())


async def start(
    engine: Any, given: ServeOptions | None = None, phases: Phases | None = None
) -> replica.Replica:
    """A replica on an engine that is started, or fails so."""

    async def start_engine() -> Any:
        if isinstance(engine, Exception):
            raise engine
        return engine

    starting = asyncio.create_task(start_engine())
    return await replica.start_replica(given or options(), starting, phases or Phases())


@pytest.fixture(autouse=True)
def text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "open_text", text_model)


async def test_a_replica_answers() -> None:
    engine = FakeEngine(b"Hello")
    phases = Phases()
    started = await start(engine, options(api_key="key"), phases)
    assert list(phases.seconds) == ["python", "engine", "text", "first answer"]
    assert engine.num_probes == 1
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(started.app), base_url="http://octavo"
    ) as client:
        body = {"model": "tiny", "prompt": "hi", "stop": "l"}
        answer = await client.post("/v1/completions", json=body, headers={"authorization": "Bearer key"})
        assert answer.json()["choices"][0]["text"] == "He"
        metrics = await client.get("/metrics", headers={"authorization": "Bearer key"})
    info = metrics.text[metrics.text.index("vllm:cache_config_info{") :].splitlines()[0]
    for label in (
        'block_size="16"',
        'cache_dtype="bf16"',
        'activation_dtype="bf16"',
        'num_gpu_blocks="4096"',
        'num_cpu_blocks="512"',
        'enable_prefix_caching="True"',
    ):
        assert label in info


async def test_prompts_and_choices_are_bounded_by_what_the_server_holds() -> None:
    few = dataclasses.replace(options(), engine=EngineConfig(max_num_seqs=1, max_num_queued_requests=2))
    for given, count in ((options(), 128), (few, 3)):
        started = await start(FakeEngine(b"Hello"), given)
        transport = httpx2.ASGITransport(started.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
            client.headers["authorization"] = "Bearer from the environment"
            for number in (count, count + 1):
                body = {"model": "tiny", "prompt": ["a" * 50] * number}
                response = await client.post("/v1/completions", json=body)
                assert response.status_code == (200 if number == count else 400), response.text
        assert f"allowed: {count}" in response.text


async def test_the_environments_key_is_asked_for_when_no_other_is_given() -> None:
    started = await start(FakeEngine())
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(started.app), base_url="http://octavo"
    ) as client:
        assert (await client.get("/v1/models")).status_code == 401


async def test_an_engine_that_does_not_start_is_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: pathlib.Path) -> Any:
        raise ModelFileError("the text's own complaint")

    monkeypatch.setattr(replica, "open_text", fail)
    with pytest.raises(StartError, match="Not enough memory"):
        await start(StartError("Not enough memory."))


async def test_text_that_does_not_open_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: pathlib.Path) -> Any:
        raise ModelFileError("The pre-tokenizer is not supported.")

    engine = FakeEngine()
    monkeypatch.setattr(replica, "open_text", fail)
    with pytest.raises(StartError, match="pre-tokenizer"):
        await start(engine)
    assert engine.is_closed


async def test_a_cancelled_start_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    asked = asyncio.Event()
    monkeypatch.setattr("tests.fakes.send", lambda *arguments: asked.set())
    starting = asyncio.create_task(start(engine))
    await asked.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert engine.is_closed


async def test_a_bad_key_file_ends_the_engine_that_starts(tmp_path: pathlib.Path) -> None:
    was_cancelled = asyncio.Event()

    async def start_engine() -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()

    starting = asyncio.create_task(start_engine())
    await asyncio.sleep(0)
    with pytest.raises(StartError, match="--api-key-file"):
        await replica.start_replica(options(api_key_file=tmp_path / "none"), starting, Phases())
    assert was_cancelled.is_set()


async def test_a_bad_key_file_ends_the_engine_that_has_started(tmp_path: pathlib.Path) -> None:
    engine = FakeEngine()
    with pytest.raises(StartError, match="--api-key-file"):
        await start(engine, options(api_key_file=tmp_path / "none"))
    assert engine.is_closed
