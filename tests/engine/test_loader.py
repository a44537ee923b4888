"""Loading an engine: what it reports, and how it refuses."""

import dataclasses
import pathlib

import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.errors import StartError
from octavo.engine import loader
from octavo.engine.core import NullJournal
from octavo.engine.loader import LoadedEngine, load_engine
from octavo.scheduler.scheduler import Scheduler
from octavo.scheduler.step_time import StepCost
from tests.weights.gguf_bytes import model_file, tiny_metadata, tiny_tensors

BLOCK_BYTES = 368_704  # of the built-in model


def load(
    path: pathlib.Path, home: pathlib.Path | None = None, isa: str | None = None, **options: object
) -> LoadedEngine:
    """An engine that is closed at once: what it said of itself is left."""
    config = EngineConfig(model=str(path), **options)
    environment = Environment.read()
    environment = dataclasses.replace(
        environment, home=home or environment.home, cpu_isa=isa or environment.cpu_isa
    )
    loaded = load_engine(config, environment, NullJournal(), epoch=3)
    loaded.core.close()
    return loaded


def test_ready_tells_limits_memory_and_boot_times(smollm2_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    options = {"max_model_len": 512, "threads": 1, "activation_dtype": "bf16"}
    ready = load(smollm2_path, tmp_path, kv_cache_memory=90 * BLOCK_BYTES, **options).ready
    assert (ready.epoch, ready.max_model_len, ready.vocab_size, ready.threads) == (3, 512, 49152, 1)
    assert ready.num_blocks == 80 and ready.memory["num_checkpoint_blocks"] == 10  # an eighth of the KV cache
    assert ready.memory["block_bytes"] == BLOCK_BYTES
    phases = ["open model", "pack weights", "fingerprint", "keep weights", "first token"]
    assert list(ready.boot_seconds) == phases and ready.notices == ()
    assert len(bytes.fromhex(ready.fingerprint)) == 16


def test_a_second_start_maps_the_weights_of_the_first(
    smollm2_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first, second = (load(smollm2_path, tmp_path, kv_cache_memory=9 * BLOCK_BYTES).ready for _ in range(2))
    assert list(second.boot_seconds) == ["open model", "map weights", "first token"]
    assert second.fingerprint == first.fingerprint


def test_a_cache_of_int8_has_nearly_twice_the_blocks_and_a_fingerprint_of_its_own(
    smollm2_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first, second = (
        load(smollm2_path, tmp_path, kv_cache_memory=90 * BLOCK_BYTES, kv_dtype=kind)
        for kind in ("bf16", "int8")
    )
    assert (first.ready.kv_dtype, second.ready.kv_dtype) == ("bf16", "int8")
    assert second.ready.num_blocks / first.ready.num_blocks == pytest.approx(32 / 17, rel=0.02)
    assert second.kv_bytes_per_token / first.kv_bytes_per_token == pytest.approx(17 / 32, rel=0.01)
    assert second.ready.fingerprint != first.ready.fingerprint
    assert "map weights" in second.ready.boot_seconds  # those that the other start has kept


def test_activations_of_int8_have_a_fingerprint_of_their_own(
    smollm2_path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    first, second = (
        load(smollm2_path, tmp_path, kv_cache_memory=9 * BLOCK_BYTES, activation_dtype=kind).ready
        for kind in ("bf16", "int8")
    )
    assert (first.activation_dtype, second.activation_dtype) == ("bf16", "int8")
    assert second.fingerprint != first.fingerprint
    assert "map weights" in second.boot_seconds  # of either kind the same


def test_the_first_guess_of_a_steps_time_knows_what_weights_are_multiplied_by(
    smollm2_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guesses, scheduler = [], loader.Scheduler

    def spy(*arguments: object, step_cost: StepCost, **options: object) -> Scheduler:
        guesses.append(step_cost)
        return scheduler(*arguments, step_cost=step_cost, **options)

    monkeypatch.setattr(loader, "Scheduler", spy)
    for kind in (None, "bf16", "int8"):
        load(smollm2_path, kv_cache_memory=9 * BLOCK_BYTES, isa="portable", activation_dtype=kind)
    default, bf16, int8 = guesses
    assert default == bf16 and int8.per_token == pytest.approx(bf16.per_token / 10)
    assert dataclasses.replace(int8, per_token=bf16.per_token) == bf16


@pytest.mark.parametrize(
    ("isa", "chosen", "is_advised"),
    [("avx2", None, True), ("avx2", "bf16", False), ("avx2", "int8", False), ("portable", None, False)],
)
def test_who_would_be_faster_with_int8_activations_and_has_not_chosen_is_told(
    isa: str, chosen: str | None, is_advised: bool, smollm2_path: pathlib.Path
) -> None:
    loaded = load(smollm2_path, isa=isa, kv_cache_memory=9 * BLOCK_BYTES, activation_dtype=chosen)
    assert any("--activation-dtype int8" in notice for notice in loaded.ready.notices) is is_advised


def test_more_threads_than_cores_are_a_notice(
    smollm2_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "available_cores", lambda: 1)
    options = {"kv_cache_memory": 9 * BLOCK_BYTES, "activation_dtype": "bf16"}
    assert load(smollm2_path, threads=1, **options).ready.notices == ()
    notice = "2 threads on 1 core: they wait for each other"
    assert load(smollm2_path, threads=2, **options).ready.notices == (notice,)


def test_weights_that_cannot_be_kept_are_a_notice(smollm2_path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "repacked").touch()
    notices = load(smollm2_path, tmp_path, kv_cache_memory=9 * BLOCK_BYTES).ready.notices
    assert "not kept" in notices[0]


def test_a_successor_can_be_given_as_many_blocks(smollm2_path: pathlib.Path) -> None:
    first = load(smollm2_path, max_model_len=512, kv_cache_memory=90 * BLOCK_BYTES + 12345)
    second = load(smollm2_path, max_model_len=512, kv_cache_memory=first.ready.kv_cache_memory)
    assert second.ready.num_blocks == first.ready.num_blocks


def test_a_context_longer_than_the_models_is_refused(smollm2_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match="--max-model-len is 8193; this model was trained for up to 8192"):
        load(smollm2_path, max_model_len=8193)


def test_int8_activations_without_quantized_weights_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "wide.gguf"
    path.write_bytes(model_file(tiny_metadata(), tiny_tensors()))
    with pytest.raises(StartError, match=r"for quantized weights, of which wide\.gguf has none"):
        load(path, tmp_path, activation_dtype="int8")


def test_too_little_kv_memory_is_refused(smollm2_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match="--kv-cache-memory is 400,000 bytes; one block of 16 tokens takes"):
        load(smollm2_path, kv_cache_memory=400_000)


def test_a_machine_with_too_little_memory_is_told_what_is_needed(
    smollm2_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "available_memory_bytes", lambda: 64 << 20)
    with pytest.raises(StartError, match=r"Not enough memory: .* MiB are needed .* 64 MiB are available"):
        load(smollm2_path, kv_cache_memory=8 << 20)
