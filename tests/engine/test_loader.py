"""Loading an engine: what it reports, and how it refuses."""

import pathlib

import pytest

from octavo.config import EngineConfig, Environment
from octavo.core.errors import StartError
from octavo.engine import loader
from octavo.engine.core import NullJournal
from octavo.engine.loader import load_engine

BLOCK_BYTES = 368_704  # of the built-in model


def load(path: pathlib.Path, **options: object):
    config = EngineConfig(model=str(path), **options)
    return load_engine(config, Environment.read(), NullJournal(), epoch=3)


def test_ready_tells_limits_memory_and_boot_times(smollm2_path: pathlib.Path) -> None:
    loaded = load(smollm2_path, max_model_len=512, kv_cache_memory=90 * BLOCK_BYTES, threads=2)
    ready = loaded.ready
    assert (ready.epoch, ready.max_model_len, ready.vocab_size, ready.threads) == (3, 512, 49152, 2)
    assert ready.num_blocks == 80 and ready.memory["num_checkpoint_blocks"] == 10  # an eighth of the KV cache
    assert ready.memory["block_bytes"] == BLOCK_BYTES
    assert list(ready.boot_seconds) == ["open model", "load weights", "fingerprint", "first token"]
    assert len(bytes.fromhex(ready.fingerprint)) == 16
    loaded.core.close()


def test_a_successor_can_be_given_as_many_blocks(smollm2_path: pathlib.Path) -> None:
    first = load(smollm2_path, max_model_len=512, kv_cache_memory=90 * BLOCK_BYTES + 12345)
    second = load(smollm2_path, max_model_len=512, kv_cache_memory=first.ready.kv_cache_memory)
    assert second.ready.num_blocks == first.ready.num_blocks
    first.core.close()
    second.core.close()


def test_a_context_longer_than_the_models_is_refused(smollm2_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match="--max-model-len is 8193; this model was trained for up to 8192"):
        load(smollm2_path, max_model_len=8193)


def test_too_little_kv_memory_is_refused(smollm2_path: pathlib.Path) -> None:
    with pytest.raises(StartError, match="--kv-cache-memory is 400,000 bytes; one block of 16 tokens takes"):
        load(smollm2_path, kv_cache_memory=400_000)


def test_a_machine_with_too_little_memory_is_told_what_is_needed(
    smollm2_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "available_memory_bytes", lambda: 64 << 20)
    with pytest.raises(StartError, match=r"Not enough memory: .* MiB are needed .* 64 MiB are available"):
        load(smollm2_path, kv_cache_memory=8 << 20)
