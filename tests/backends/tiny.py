"""A small random model and random steps over it, for comparing back ends."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from octavo.backends.base import StepLimits
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.sampling_params import SamplingParams
from octavo.core.step import NO_LOGPROBS, NO_MASK, Admission, OutputKind, RowStatus, StepInput
from octavo.models.architecture import Activation, Architecture, Experts, LayerKind, NormPlacement, QKNorm
from octavo.models.lowering import lower
from octavo.models.program import Program
from octavo.models.rotary import FactorScaling, LinearScaling, Rope, RopePairing
from octavo.weights.formats import Tensor, TensorFormat
from tests.weights.blocks import model_blocks

TINY = Architecture(
    family="llama",
    num_layers=2,
    hidden_size=96,
    num_heads=6,
    num_kv_heads=2,
    head_dim=16,
    ffn_size=80,
    vocab_size=211,
    max_position=700,
    norm_epsilon=1e-5,
    layer_kinds=(LayerKind(Rope(10000.0, RopePairing.INTERLEAVED, 16)),),
    is_embedding_tied=False,
)
# Between them, two models that need every attribute an op can have.
SANDWICH = dataclasses.replace(
    TINY,
    layer_kinds=(
        LayerKind(Rope(10000.0, RopePairing.HALVES, 16), window=40),
        LayerKind(Rope(50000.0, RopePairing.HALVES, 8, LinearScaling(2.0))),
        LayerKind(None, window=300),
    ),
    num_layers=3,
    has_qkv_bias=True,
    has_output_bias=True,
    has_mlp_bias=True,
    qk_norm=QKNorm.HEAD,
    norm_placement=NormPlacement.AROUND,
    norm_offset=1.0,
    activation=Activation.GELU_TANH,
    embedding_scale=3.0,
    attention_scale=0.3,
    logits_scale=0.5,
    attention_softcap=4.0,
    logits_softcap=2.0,
)
AFTER = dataclasses.replace(
    TINY,
    num_layers=1,
    layer_kinds=(LayerKind(Rope(10000.0, RopePairing.INTERLEAVED, 12, FactorScaling(None, 1.2))),),
    qk_norm=QKNorm.WIDTH,
    norm_placement=NormPlacement.AFTER,
)
SCALED = dataclasses.replace(TINY, num_layers=1, residual_scale=0.22, has_mlp_bias=True)
EXPERTS = dataclasses.replace(
    TINY,
    num_layers=1,
    layer_kinds=(dataclasses.replace(TINY.layer_kinds[0], has_experts=True),),
    experts=Experts(count=20, per_token=3, ffn_size=48, is_normalized=False),
    residual_scale=0.7,
)
LIMITS = StepLimits(max_num_seqs=8, max_num_batched_tokens=640, max_model_len=700)
NUM_BLOCKS = 280  # of all KV groups


FEW_FORMATS = (TensorFormat.F32, TensorFormat.Q4_1, TensorFormat.BF16, TensorFormat.Q8_0, TensorFormat.F16)


def random_tensors(
    program: Program, seed: int = 1, formats: Sequence[TensorFormat] = FEW_FORMATS
) -> dict[str, Tensor]:
    """Matrices of the formats by turns; BF16 where a format does not fit the width."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for i, weight in enumerate(program.weights):
        for j, (name, rows) in enumerate(weight.parts):
            format = TensorFormat.F32 if weight.is_vector else formats[(i + j) % len(formats)]
            if format.is_quantized and weight.num_columns % format.block_size:
                format = TensorFormat.BF16
            tensors[name] = _random_tensor(rng, name, format, rows, weight.num_columns)
    return tensors


def _random_tensor(
    rng: np.random.Generator, name: str, format: TensorFormat, rows: int, columns: int
) -> Tensor:
    values = rng.normal(size=(rows, columns)).astype(np.float32) * np.float32(
        columns**-0.5 if columns > 1 else 1
    )
    match format:
        case TensorFormat.F32:
            return Tensor.of(name, values if columns > 1 else values.reshape(-1))
        case TensorFormat.F16:
            return Tensor.of(name, values.astype(np.float16))
        case TensorFormat.BF16:
            return Tensor.of(name, (values.view(np.uint32) >> 16).astype(np.uint16))
    num_blocks = rows * columns // format.block_size
    if format not in FEW_FORMATS:
        return Tensor(name, format, rows, columns, model_blocks(format, num_blocks, num_blocks).reshape(-1))
    data = rng.integers(0, 256, (num_blocks, format.block_bytes), np.uint8)
    scale = 0.1 if format is TensorFormat.Q4_1 else 0.002
    data[:, :2] = (rng.uniform(0.5, 1, (num_blocks, 1)) * scale).astype("<f2").view(np.uint8)
    if format is TensorFormat.Q4_1:
        data[:, 2:4] = (rng.uniform(-1, -0.5, (num_blocks, 1))).astype("<f2").view(np.uint8)
    return Tensor(name, format, rows, columns, data.reshape(-1))


def model_of(arch: Architecture) -> tuple[Program, Mapping[str, Tensor]]:
    program = lower(arch)
    return program, random_tensors(program)


def tiny_model(**changes: object) -> tuple[Program, Mapping[str, Tensor]]:
    """TINY with changes; its whole heads rotate unless layer_kinds say otherwise."""
    if "head_dim" in changes and "layer_kinds" not in changes:
        rope = dataclasses.replace(TINY.layer_kinds[0].rope, dim=changes["head_dim"])
        changes["layer_kinds"] = (LayerKind(rope),)
    return model_of(dataclasses.replace(TINY, **changes))


@dataclasses.dataclass
class _Group:
    window: int | None
    free: list[int]  # of all groups
    tables: dict[int, list[int | None]]  # None: freed

    def extend(self, slot: int, first: int, count: int) -> list[tuple[int, int]]:
        table = self.tables[slot]
        num_gone = max(0, first - self.window + 1) // BLOCK_SIZE if self.window else 0
        for index in range(num_gone):
            if table[index] is not None:
                self.free.insert(0, table[index])
                table[index] = None
        known = len(table)
        table += [self.free.pop(0) for _ in range(-(-(first + count) // BLOCK_SIZE) - known)]
        return list(enumerate(table))[known:]


class StepMaker:
    """Builds steps by hand: each call computes the given number of tokens of each request.

    windows: of the KV groups. A block that lies wholly before its group's window goes to the next who asks.
    """

    def __init__(
        self, prompts: dict[int, list[int]], sampling: SamplingParams, windows: Sequence[int | None] = (None,)
    ) -> None:
        self._tokens = {slot: list(prompt) for slot, prompt in prompts.items()}
        self._computed = dict.fromkeys(prompts, 0)
        free = np.random.default_rng(3).permutation(NUM_BLOCKS).tolist()
        self._groups = [_Group(window, free, {slot: [] for slot in prompts}) for window in windows]
        self._sampling = sampling
        self._step_id = 0

    def step(self, counts: dict[int, int], drafts: Mapping[int, list[int]] | None = None) -> StepInput:
        """drafts: of slots that catch up, whose blocks have room for them."""
        admitted, new_blocks, query_start, token_ids, output_row, output_slot = [], [], [0], [], [], []
        num_computed = []
        for slot, count in counts.items():
            tokens, first = self._tokens[slot], self._computed[slot]
            if first == 0:
                prompt = np.array(tokens, np.int32)
                admitted.append(Admission(slot, prompt, len(tokens), self._sampling, seed=7 + slot))
            for g, group in enumerate(self._groups):
                new_blocks += [(slot, g, index, block) for index, block in group.extend(slot, first, count)]
            token_ids += tokens[first : first + count]
            num_computed.append(first)
            query_start.append(len(token_ids))
            self._computed[slot] = first + count
            if first + count == len(tokens):
                guesses = (drafts or {}).get(slot, [])
                output_row += range(len(token_ids) - 1, len(token_ids) + len(guesses))
                output_slot += [slot] * (1 + len(guesses))
                token_ids += guesses
                query_start[-1] = len(token_ids)
        self._step_id += 1
        ints = lambda values, shape=-1: np.array(values, np.int32).reshape(shape)  # noqa: E731
        return StepInput(
            self._step_id, 0, tuple(admitted), ints([]), ints([], (0, 3)), ints(new_blocks, (-1, 4)),
            ints(list(counts)), ints(query_start), ints(num_computed), ints(token_ids), ints(output_row),
            ints(output_slot), ints([OutputKind.SAMPLE] * len(output_row)), ints([-1] * len(output_row)),
            ints([NO_LOGPROBS] * len(output_row)), ints([NO_MASK] * len(output_row)),
        )  # fmt: skip

    def append(self, step: StepInput, tokens: np.ndarray, status: np.ndarray | None = None) -> None:
        """status: where it is not OK nothing was sampled."""
        is_sampled = np.ones(len(tokens), bool) if status is None else status == RowStatus.OK
        before = -1
        for slot, token in zip(
            step.output_slot[is_sampled].tolist(), tokens[is_sampled].tolist(), strict=True
        ):
            self._tokens[slot].append(token)
            self._computed[slot] += slot == before  # after a draft that was right
            before = slot


def mixed_steps(maker: StepMaker) -> Iterator[StepInput]:
    """A prompt alone, chunks beside decodes, a long context, then all decoding: slots 0 to 3."""
    yield maker.step({0: 5})
    yield maker.step({0: 1, 1: 48, 2: 33})
    yield maker.step({0: 1, 2: 500, 1: 5})
    yield maker.step({1: 1, 0: 1, 2: 1, 3: 17})
    for _ in range(3):
        yield maker.step({3: 1, 2: 1, 1: 1, 0: 1})


def mixed_prompts(vocab_size: int) -> dict[int, list[int]]:
    rng = np.random.default_rng(5)
    return {slot: rng.integers(0, vocab_size, n).tolist() for slot, n in ((0, 5), (1, 53), (2, 533), (3, 17))}
