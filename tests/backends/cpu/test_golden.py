"""The built-in model's logits, as hashes that are committed: bits change only together with NUMERICS_VERSION.

`python tests/backends/cpu/test_golden.py` writes the file anew.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import pytest

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.library import load_library
from octavo.config import Environment
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, StepInput
from octavo.engine.model_files import open_model
from octavo.models.program import NUMERICS_VERSION, Program
from octavo.models.source import resolve

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "smollm2_logits.json"
BUILDS = ("portable", "avx2", "avx512", "amx", "amx_emulated")
ISAS = [isa for isa in BUILDS if load_library().octavo_has_isa(isa.encode())]
PROMPT = [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198, 504]
CHUNKS = [(0, 16), (16, 1), (17, 1)]  # a prefill chunk and two single rows, the last a sampled token


def logit_hashes(path: pathlib.Path, isa: str, num_threads: int) -> list[str]:
    """One hash per step, over the bits of the last row's logits."""
    model = open_model(path)
    limits = StepLimits(1, 16, 64)
    backend = CpuBackend(model.program, model.checkpoint.parts, limits, 4, num_threads=num_threads, isa=isa)
    tokens, hashes, none = list(PROMPT), [], np.zeros(0, np.int32)
    for step_id, (first, count) in enumerate(CHUNKS):
        prompt = np.array(tokens, np.int32)
        admission = Admission(0, prompt, len(PROMPT), SamplingParams(temperature=0), seed=0)
        step = StepInput(
            step_id=step_id, epoch=0, admitted=(admission,) if first == 0 else (), released=none,
            copies=none.reshape(0, 3), new_blocks=new_blocks(first, count),
            slot=np.zeros(1, np.int32), query_start=np.array([0, count], np.int32),
            num_computed=np.array([first], np.int32), token_ids=prompt[first : first + count],
            output_row=np.array([count - 1], np.int32), output_slot=np.zeros(1, np.int32),
            output_kind=np.zeros(1, np.int32), target=np.full(1, -1, np.int32),
            num_logprobs=np.full(1, NO_LOGPROBS, np.int32), mask_row=np.full(1, NO_MASK, np.int32),
        )  # fmt: skip
        output = backend.collect(backend.submit(step))
        hashes.append(hashlib.sha256(backend.buffer(Program.logits, 1).tobytes()).hexdigest())
        if first + count == len(tokens):
            tokens.append(int(output.token[0]))
    backend.close()
    return hashes


def new_blocks(first: int, count: int) -> np.ndarray:
    """Blocks 0, 1 ... in order, as their first position comes up."""
    indices = [i for i in range(first // 16, (first + count - 1) // 16 + 1) if i * 16 >= first]
    return np.array([(0, 0, i, i) for i in indices], np.int32).reshape(-1, 4)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("isa", ISAS)
def test_logits_are_the_committed_ones(isa: str, num_threads: int, smollm2_path: pathlib.Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["numerics_version"] == NUMERICS_VERSION
    assert logit_hashes(smollm2_path, isa, num_threads) == golden["logits_sha256"]


if __name__ == "__main__":
    hashes = logit_hashes(resolve("default", Environment.read().home), "portable", 2)
    GOLDEN.write_text(
        json.dumps({"numerics_version": NUMERICS_VERSION, "logits_sha256": hashes}, indent=2) + "\n"
    )
    sys.exit(0)
