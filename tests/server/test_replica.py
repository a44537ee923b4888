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


def install(monkeypatch: pytest.MonkeyPatch, engine: Any, open_text: Any = text_model) -> None:
    async def start(config: object, environment: object) -> Any:
        if isinstance(engine, Exception):
            raise engine
        return engine

    monkeypatch.setattr(replica, "EngineSupervisor", SimpleNamespace(start=start))
    monkeypatch.setattr(replica, "open_text", open_text)


async def test_a_replica_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(b"Hello")
    install(monkeypatch, engine)
    phases = Phases()
    started = await replica.start_replica(options(api_key="key"), phases)
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


async def test_prompts_and_choices_are_bounded_by_what_the_server_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeEngine(b"Hello"))
    few = dataclasses.replace(options(), engine=EngineConfig(max_num_seqs=1, max_num_queued_requests=2))
    for given, count in ((options(), 128), (few, 3)):
        started = await replica.start_replica(given, Phases())
        transport = httpx2.ASGITransport(started.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://octavo") as client:
            client.headers["authorization"] = "Bearer from the environment"
            for number in (count, count + 1):
                body = {"model": "tiny", "prompt": ["a" * 50] * number}
                response = await client.post("/v1/completions", json=body)
                assert response.status_code == (200 if number == count else 400), response.text
        assert f"allowed: {count}" in response.text


async def test_the_environments_key_is_asked_for_when_no_other_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, FakeEngine())
    started = await replica.start_replica(options(), Phases())
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(started.app), base_url="http://octavo"
    ) as client:
        assert (await client.get("/v1/models")).status_code == 401


async def test_an_engine_that_does_not_start_is_a_start_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: pathlib.Path) -> Any:
        raise ModelFileError("the text's own complaint")

    install(monkeypatch, StartError("Not enough memory."), fail)
    with pytest.raises(StartError, match="Not enough memory"):
        await replica.start_replica(options(), Phases())


async def test_text_that_does_not_open_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: pathlib.Path) -> Any:
        raise ModelFileError("The pre-tokenizer is not supported.")

    engine = FakeEngine()
    install(monkeypatch, engine, fail)
    with pytest.raises(StartError, match="pre-tokenizer"):
        await replica.start_replica(options(), Phases())
    assert engine.is_closed


async def test_a_cancelled_start_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    asked = asyncio.Event()
    install(monkeypatch, engine)
    monkeypatch.setattr("tests.fakes.send", lambda *arguments: asked.set())
    starting = asyncio.create_task(replica.start_replica(options(), Phases()))
    await asked.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert engine.is_closed


async def test_a_bad_key_file_is_known_before_the_engine_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    install(monkeypatch, AssertionError("started"))
    with pytest.raises(StartError, match="--api-key-file"):
        await replica.start_replica(options(api_key_file=tmp_path / "none"), Phases())
