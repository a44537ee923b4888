import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from octavo.weights.formats import Tensor, TensorFormat, expand_to_bf16, expand_to_f32, round_weights

ORACLE_TYPES = {TensorFormat.Q8_0: GGMLQuantizationType.Q8_0, TensorFormat.Q4_1: GGMLQuantizationType.Q4_1}


def random_blocks(tensor_format: TensorFormat, num_blocks: int) -> np.ndarray:
    """Any bytes at all but for the scales, which are finite."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (num_blocks, tensor_format.block_bytes), np.uint8)
    num_scales = 1 if tensor_format is TensorFormat.Q8_0 else 2
    scales = rng.normal(size=(num_blocks, num_scales)).astype("<f2")
    scales[:4] = [[6e-8], [6e-5], [0.0], [-1.0]]  # subnormal halves among them
    blocks[:, : 2 * num_scales] = scales.view(np.uint8)
    return blocks


@pytest.mark.parametrize("tensor_format", ORACLE_TYPES)
def test_quantized_values_equal_the_reference_dequantizer(tensor_format: TensorFormat) -> None:
    blocks = random_blocks(tensor_format, 600)
    tensor = Tensor("w", tensor_format, 100, 6 * 32, blocks.reshape(-1))
    expected = gguf.quants.dequantize(blocks.reshape(100, -1), ORACLE_TYPES[tensor_format])
    assert expand_to_f32(tensor).tobytes() == expected.astype(np.float32).tobytes()


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
