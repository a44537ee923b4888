"""The memory plan is what the engine process takes: measured after the load, and with every KV block used."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from octavo.backends.base import MemoryPlan
from octavo.config import Environment
from octavo.models.catalog import GEMMA3, QWEN25_CODER, NamedModel
from octavo.models.source import resolve

KV_BYTES = 400 << 20
TOLERANCE = 0.03
MIB = 1 << 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("home")


def check(model: pathlib.Path, home: pathlib.Path) -> None:
    command = [sys.executable, "-m", "tests.e2e.resident_memory", str(model), str(KV_BYTES)]
    environment = {**os.environ, "OCTAVO_HOME": str(home)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result = json.loads(done.stdout)
    process_bytes = result["plan"].pop("process_bytes")
    plan = MemoryPlan(**result["plan"])
    assert plan.kv_bytes + plan.checkpoint_bytes == pytest.approx(KV_BYTES, rel=0.01)
    loaded = plan.resident_bytes + process_bytes
    used = plan.total_bytes - plan.sampling_bytes + process_bytes
    print(f"{model.name} loaded: planned {loaded / MIB:.1f} MiB, measured {result['loaded'] / MIB:.1f}")
    print(f"all blocks used: planned {used / MIB:.1f} MiB, measured {result['used'] / MIB:.1f}")
    assert result["loaded"] == pytest.approx(loaded, rel=TOLERANCE)
    assert result["used"] == pytest.approx(used, rel=TOLERANCE)


@pytest.mark.parametrize("start", ["packs", "maps"])
def test_planned_and_resident_memory_agree(
    start: str, smollm2_path: pathlib.Path, home: pathlib.Path
) -> None:
    """On the second start the weights are the pages of a file, which are nobody else's here."""
    assert (home / "repacked").exists() is (start == "maps")
    check(smollm2_path, home)


@pytest.mark.full
@pytest.mark.parametrize("named", [GEMMA3, QWEN25_CODER], ids=lambda named: named.name)
def test_they_agree_for_the_other_named_models(named: NamedModel, tmp_path: pathlib.Path) -> None:
    check(resolve(named.name, Environment.read().home), tmp_path)
