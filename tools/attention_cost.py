"""What attention costs with a KV cache of bf16 and of int8: one thread's CPU time, the two by turns.

.venv/bin/python -m tools.attention_cost --isa amx
A program of attention alone, with SmolLM2's heads: as many requests as "rows" decode one token each at a
context, or one request computes them as a chunk of its prompt behind it. Milliseconds for 30 layers.
"""

import argparse
import dataclasses
import statistics
import time

import numpy as np

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend, default_isa
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.kv_dtype import KVDType
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, OutputKind, StepInput
from octavo.models.architecture import Architecture, LayerKind
from octavo.models.lowering import lower
from octavo.models.ops import OpKind
from octavo.models.program import Program
from octavo.models.rotary import Rope, RopePairing
from octavo.weights.formats import Tensor

NUM_LAYERS = 30
MAX_KV_BYTES = 3 << 30  # of bf16: above, fewer layers are computed and the time is scaled
KINDS = (KVDType.BF16, KVDType.INT8)


@dataclasses.dataclass(frozen=True)
class Heads:
    num_heads: int
    num_kv_heads: int
    head_dim: int

    def program(self, num_layers: int, max_position: int) -> Program:
        """Attention, between an embedding and an output head of hardly any size."""
        arch = Architecture(
            family="llama", num_layers=num_layers, hidden_size=32, num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads, head_dim=self.head_dim, ffn_size=32, vocab_size=16,
            max_position=max_position, norm_epsilon=1e-5, is_embedding_tied=True,
            layer_kinds=(LayerKind(Rope(1e4, RopePairing.HALVES, self.head_dim)),),
        )  # fmt: skip
        whole = lower(arch)
        is_kept = {OpKind.EMBED, OpKind.ATTENTION, OpKind.GATHER}
        ops = tuple(op for op in whole.ops if op.kind in is_kept or op.layer < 0)
        return dataclasses.replace(whole, ops=ops)


class Cell:
    """Steps of num_requests with num_rows each at a context, over and over."""

    def __init__(self, program: Program, isa: str, context: int, num_requests: int, num_rows: int) -> None:
        longest, blocks_each = context + num_rows, -(-(context + num_rows) // BLOCK_SIZE)
        limits = StepLimits(num_requests, num_requests * num_rows, longest)
        num_blocks = num_requests * blocks_each
        self._backend = CpuBackend(program, _tensors(program), limits, num_blocks, isa=isa)
        blocks = np.random.default_rng(0).permutation(num_blocks)
        table = [
            (slot, 0, index, int(blocks[slot * blocks_each + index]))
            for index in range(blocks_each)
            for slot in range(num_requests)
        ]
        self._fill = _step(np.zeros(num_requests, np.int32), 1, np.array(table, np.int32))
        self._step = _step(np.full(num_requests, context, np.int32), num_rows, np.zeros((0, 4), np.int32))
        self._backend.submit(self._fill)  # touches every block

    def seconds(self) -> float:
        start = time.thread_time()
        self._backend.submit(self._step)
        return time.thread_time() - start

    def close(self) -> None:
        self._backend.close()


def _tensors(program: Program) -> dict[str, Tensor]:
    sizes = {part: (rows, weight.num_columns) for weight in program.weights for part, rows in weight.parts}
    return {
        part: Tensor.of(part, np.zeros((rows, columns) if columns > 1 else rows, np.float32))
        for part, (rows, columns) in sizes.items()
    }


def _step(num_computed: np.ndarray, num_rows: int, new_blocks: np.ndarray) -> StepInput:
    count, greedy = len(num_computed), SamplingParams(temperature=0)
    num_tokens = count * num_rows
    slots, zeros, none = np.arange(count, dtype=np.int32), np.zeros(1, np.int32), np.zeros(0, np.int32)
    prompt = np.zeros(1, np.int32)
    is_first = len(new_blocks) > 0
    admitted = tuple(Admission(slot, prompt, 1, greedy, seed=0) for slot in range(count) if is_first)
    return StepInput(
        step_id=0, epoch=0, admitted=admitted, released=none, copies=none.reshape(0, 3),
        new_blocks=new_blocks, slot=slots, query_start=np.arange(count + 1, dtype=np.int32) * num_rows,
        num_computed=num_computed, token_ids=np.zeros(num_tokens, np.int32), output_row=zeros,
        output_slot=zeros, output_kind=zeros + OutputKind.SAMPLE, target=zeros,
        num_logprobs=zeros + NO_LOGPROBS, mask_row=zeros + NO_MASK,
    )  # fmt: skip


def measure(
    heads: Heads, isa: str, context: int, num_requests: int, num_rows: int, rounds: int
) -> list[float]:
    """Milliseconds of 30 layers with each kind of cache: the least of the rounds, as others disturb."""
    bytes_per_layer = num_requests * (context + num_rows) * heads.num_kv_heads * heads.head_dim * 4
    num_layers = max(1, min(NUM_LAYERS, MAX_KV_BYTES // bytes_per_layer))
    program = heads.program(num_layers, context + num_rows)
    cells = [Cell(program.with_kv_dtype(kind), isa, context, num_requests, num_rows) for kind in KINDS]
    taken = [[cell.seconds() for cell in cells] for _ in range(rounds + 1)][1:]
    for cell in cells:
        cell.close()
    return [1e3 * min(seconds) * NUM_LAYERS / num_layers for seconds in zip(*taken, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--isa", default=default_isa(), help="portable, avx2, avx512 or amx")
    parser.add_argument("--heads", default="9,3,64", help="query heads, key-value heads, head size")
    parser.add_argument("--contexts", default="200,1000,4000", help="tokens")
    parser.add_argument("--rows", default="1,8,64", help="requests that decode")
    parser.add_argument("--chunk", type=int, default=256, help="rows of one prompt's chunk; 0: none")
    parser.add_argument("--rounds", type=int, default=7, help="of a step of each kind; the least is printed")
    options = parser.parse_args()
    heads = Heads(*map(int, options.heads.split(",")))
    contexts, counts = (list(map(int, text.split(","))) for text in (options.contexts, options.rows))
    print(f"{options.isa}, {options.heads}: ms for {NUM_LAYERS} layers\n  context  rows      bf16      int8")
    ratios = []
    for context in contexts:
        for count, num_rows in [(count, 1) for count in counts] + [(1, options.chunk)] * (options.chunk > 0):
            bf16, int8 = measure(heads, options.isa, context, count, num_rows, options.rounds)
            label = f"{num_rows} in a chunk" if num_rows > 1 else ""
            print(f"{context:>9} {count * num_rows:>5} {bf16:>9.3f} {int8:>9.3f} {int8 / bf16:>6.2f} {label}")
            ratios.append(int8 / bf16)
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
