import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from octavo.weights.formats import Tensor, TensorFormat, expand_to_bf16, expand_to_f32, round_weights
from tests.weights.blocks import random_blocks

QUANTIZED = [format for format in TensorFormat if format.is_quantized]


def oracle_values(blocks: np.ndarray, format: TensorFormat) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return gguf.quants.dequantize(blocks, GGMLQuantizationType[format.label]).astype(np.float32)


@pytest.mark.parametrize("format", QUANTIZED)
def test_block_sizes_are_those_of_the_format(format: TensorFormat) -> None:
    assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType[format.label]] == (
        format.block_size,
        format.block_bytes,
    )


@pytest.mark.parametrize("format", QUANTIZED)
def test_quantized_values_equal_the_reference_dequantizer(format: TensorFormat) -> None:
    """To the bit, signs of zeros included, for any bytes with finite scales."""
    blocks = random_blocks(format, 3000)
    tensor = Tensor("w", format, 300, 10 * format.block_size, blocks.reshape(-1))
    assert expand_to_f32(tensor).tobytes() == oracle_values(blocks.reshape(300, -1), format).tobytes()


@pytest.mark.parametrize("label", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_what_the_reference_quantizes_comes_back(label: str) -> None:
    """(It quantizes to no K format.)"""
    values = np.random.default_rng(2).normal(size=(4, 512)).astype(np.float32)
    data = gguf.quants.quantize(values, GGMLQuantizationType[label])
    found = expand_to_f32(Tensor("w", TensorFormat[label], 4, 512, data.reshape(-1)))
    assert np.abs(found - values).max() < 4 / 2 ** (int(label[1]) - 1)


def test_q4_1_holds_the_first_half_of_a_block_in_the_low_bits() -> None:
    block = np.zeros(20, np.uint8)
    block[:4] = np.array([2.0, -1.0], "<f2").view(np.uint8)
    block[4] = 0x53  # element 0 is 3, element 16 is 5
    values = expand_to_f32(Tensor("w", TensorFormat.Q4_1, 1, 32, block))[0]
    assert (values[0], values[16], values[1]) == (5.0, 9.0, -1.0)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F800000, 0x3F80),
        (0x3F807FFF, 0x3F80),
        (0x3F808000, 0x3F81),  # a tie goes away from zero
        (0x3F818000, 0x3F82),  # also where the even neighbour is the same
        (0xBF808000, 0xBF81),
        (0x7F800000, 0x7F80),  # infinity
        (0xFF800000, 0xFF80),
        (0x7F7FFFFF, 0x7F80),  # the largest number overflows
        (0x7F800001, 0x7FC0),  # NaNs whose mantissa the mask or the carry would lose
        (0x7FFFFFFF, 0x7FC0),
        (0xFFFFFFFF, 0x7FC0),
    ],
)
def test_rounding_to_bf16_adds_half_and_masks(bits: int, expected: int) -> None:
    values = np.array([[bits]], np.uint32).view(np.float32)
    assert round_weights(values)[0, 0] == expected


def test_every_format_expands_through_the_same_rounding() -> None:
    halves = np.array([[1.0009765625, -0.333251953125]], np.float16)  # more mantissa bits than bf16 has
    from_f16 = expand_to_bf16(Tensor.of("w", halves))
    from_f32 = expand_to_bf16(Tensor.of("w", halves.astype(np.float32)))
    assert from_f16.tolist() == from_f32.tolist() == [[0x3F80, 0xBEAB]]


def test_bf16_is_taken_as_it_is() -> None:
    bits = np.array([[0x3F81, 0x7F81], [0x0001, 0xFF80]], np.uint16)  # a signalling NaN and a denormal too
    assert expand_to_bf16(Tensor.of("w", bits)).tolist() == bits.tolist()
    assert expand_to_f32(Tensor.of("w", bits[:1, :1]))[0, 0] == np.float32(1.0078125)


def test_a_vector_has_one_column() -> None:
    tensor = Tensor.of("norm", np.arange(3, dtype=np.float32))
    assert (tensor.num_rows, tensor.num_columns, tensor.num_bytes) == (3, 1, 12)
    assert expand_to_f32(tensor).tolist() == [[0.0], [1.0], [2.0]]


def test_infinite_scales_give_no_warning() -> None:
    block = np.zeros(34, np.uint8)
    block[:2] = np.array([np.inf], "<f2").view(np.uint8)
    assert np.isnan(expand_to_f32(Tensor("w", TensorFormat.Q8_0, 1, 32, block))).all()


def test_row_bytes_count_whole_blocks() -> None:
    assert [
        TensorFormat.Q4_1.row_bytes(64),
        TensorFormat.Q8_0.row_bytes(64),
        TensorFormat.F16.row_bytes(3),
    ] == [
        40,
        68,
        6,
    ]
