"""Linear layers and repacking: every format, instruction set and shape against the order of operations in
NumPy."""

import ctypes
import functools
from collections.abc import Callable, Iterator

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from octavo.backends.cpu.library import LinearWeight, load_library
from octavo.weights.formats import TensorFormat
from tests.weights.blocks import HALVES, model_blocks, random_blocks

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

ISAS = ("amx", "avx512", "avx2", "portable", "amx_emulated", "avx512_plain", "avx2_plain")
F32_TYPE, F16_TYPE, Q4_1_TYPE, Q8_0_TYPE, BF16_TYPE = 0, 1, 3, 8, 30  # GGUF tensor types
NOT_FINITE = 2
ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16, 17, 31, 32, 33, 64, 130)
COLUMNS = (1, 33, 64, 192)
MIN_NORMAL = 2.0**-126


class LinearArgs(ctypes.Structure):
    _fields_ = (
        ("weight", LinearWeight),
        ("x", ctypes.c_void_p),
        ("x_stride", ctypes.c_int64),
        ("y", ctypes.c_void_p),
        ("y_stride", ctypes.c_int64),
        ("num_rows", ctypes.c_int32),
        ("has_residual", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("bias", ctypes.c_void_p),
        ("digits", ctypes.c_void_p),
        ("digits_stride", ctypes.c_int64),
    )


@functools.cache
def library() -> ctypes.CDLL:
    loaded = load_library()
    loaded.octavo_test_isa.restype = ctypes.c_char_p
    loaded.octavo_test_unpack_row.argtypes = (
        ctypes.c_char_p,
        ctypes.POINTER(LinearWeight),
        ctypes.c_int32,
        ctypes.c_void_p,
    )
    return loaded


def available_isas() -> Iterator[str]:
    index = 0
    while name := library().octavo_test_isa(index):
        yield name.decode()
        index += 1


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    if request.param not in available_isas():
        pytest.skip(f"this processor cannot run {request.param}")
    return str(request.param)


def aligned(num_bytes: int) -> U8:
    """Zeroed bytes that start on a cache line."""
    memory = np.zeros(num_bytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + num_bytes]


class Layer:
    """One weight matrix as a file holds it, packed, and expanded: weights [num_columns, depth] fp32."""

    def __init__(self, source_type: int, source: U8, weights: F32) -> None:
        self.num_columns, self.depth = weights.shape
        self.weights = weights
        self.source_type = source_type
        self.source = source
        self.format = library().octavo_packed_format(source_type)
        self.packed = aligned(library().octavo_packed_bytes(self.format, self.num_columns, self.depth))
        self.packed[:] = 0xA5  # repacking must write every byte
        num_panels = -(-self.num_columns // 16)
        half = num_panels // 2
        assert self.repack(half, num_panels) in (0, NOT_FINITE)
        assert self.repack(0, half) in (0, NOT_FINITE)

    def repack(self, begin: int, end: int) -> int:
        return int(
            library().octavo_repack(
                self.source_type,
                self.source.ctypes.data,
                self.packed.ctypes.data,
                self.num_columns,
                self.depth,
                begin,
                end,
            )
        )

    @property
    def weight(self) -> LinearWeight:
        return LinearWeight(self.packed.ctypes.data, self.format, self.num_columns, self.depth)


def as_bytes(array: NDArray[np.generic]) -> U8:
    return np.frombuffer(array.tobytes(), np.uint8)


def widen(bits: U16) -> F32:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def add_half_and_mask(values: F32) -> F32:
    """To bf16, halves away from zero; NaN becomes quiet."""
    bits = values.view(np.uint32)
    rounded = (bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
    return (
        np.where(np.isnan(values), bits & 0xFFFF0000 | 0x00400000, rounded).astype(np.uint32).view(np.float32)
    )


def random_bf16(rng: np.random.Generator, shape: tuple[int, ...]) -> U16:
    return (rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def bf16_layer(bits: U16) -> Layer:
    return Layer(BF16_TYPE, as_bytes(bits), widen(bits))


def q4_1_layer(scale: NDArray[np.float16], minimum: NDArray[np.float16], digits: U8) -> Layer:
    """scale, minimum: [columns, groups]; digits: [columns, groups, 32] from 0 to 15."""
    blocks = np.zeros((*scale.shape, 20), np.uint8)
    blocks[..., 0:2] = scale[..., None].view(np.uint8)
    blocks[..., 2:4] = minimum[..., None].view(np.uint8)
    blocks[..., 4:] = digits[..., :16] | digits[..., 16:] << 4
    values = (
        digits.astype(np.float32) * scale.astype(np.float32)[..., None]
        + minimum.astype(np.float32)[..., None]
    )
    return Layer(Q4_1_TYPE, as_bytes(blocks), add_half_and_mask(values).reshape(len(scale), -1))


def q8_0_layer(scale: NDArray[np.float16], digits: NDArray[np.int8]) -> Layer:
    """scale: [columns, groups]; digits: [columns, groups, 32]."""
    blocks = np.zeros((*scale.shape, 34), np.uint8)
    blocks[..., 0:2] = scale[..., None].view(np.uint8)
    blocks[..., 2:] = digits.view(np.uint8)
    values = digits.astype(np.float32) * scale.astype(np.float32)[..., None]
    return Layer(Q8_0_TYPE, as_bytes(blocks), add_half_and_mask(values).reshape(len(scale), -1))


def random_bf16_layer(rng: np.random.Generator, num_columns: int, depth: int) -> Layer:
    return bf16_layer(random_bf16(rng, (num_columns, depth)))


def random_q4_1_layer(rng: np.random.Generator, num_columns: int, depth: int) -> Layer:
    groups = (num_columns, depth // 32)
    scale, minimum = rng.normal(0, 0.02, groups), rng.normal(0, 0.2, groups)
    scale.flat[0], minimum.flat[-1] = 2.0**-24, -(2.0**-20)  # subnormal in half precision
    digits = rng.integers(0, 16, (*groups, 32), np.uint8)
    return q4_1_layer(scale.astype(np.float16), minimum.astype(np.float16), digits)


def random_q8_0_layer(rng: np.random.Generator, num_columns: int, depth: int) -> Layer:
    groups = (num_columns, depth // 32)
    scale = rng.normal(0, 0.02, groups)
    scale.flat[0] = 3 * 2.0**-24
    return q8_0_layer(scale.astype(np.float16), rng.integers(-128, 128, (*groups, 32), np.int8))


def kind_of(format: TensorFormat) -> int:
    return int(gguf.GGMLQuantizationType[format.label].value)


def quantized_layer(format: TensorFormat, blocks: U8, num_columns: int) -> Layer:
    """blocks [num_blocks, block_bytes], as the reference dequantizer reads them."""
    kind = gguf.GGMLQuantizationType[format.label]
    values = gguf.quants.dequantize(blocks.reshape(num_columns, -1), kind).astype(np.float32)
    return Layer(kind_of(format), as_bytes(blocks), add_half_and_mask(values))


def random_quantized_layer(
    format: TensorFormat, rng: np.random.Generator, num_columns: int, depth: int
) -> Layer:
    num_blocks = num_columns * depth // format.block_size
    return quantized_layer(format, model_blocks(format, num_blocks, int(rng.integers(99))), num_columns)


def flush(values: F32) -> F32:
    return np.where(np.abs(values) < MIN_NORMAL, np.copysign(np.float32(0), values), values)


def round_once(values: NDArray[np.float64]) -> F32:
    """To fp32 with denormal results flushed; what would round up to the least normal number is not
    denormal."""
    is_tiny = np.abs(values) < MIN_NORMAL * (1 - 2.0**-25)
    with np.errstate(over="ignore", under="ignore"):
        return np.where(is_tiny, np.copysign(0.0, values), values).astype(np.float32)


def expected(x: F32, weights: F32) -> F32:
    """[rows, columns] in the order of docs/exactness.md; x [rows, depth] and weights [columns, depth] hold
    bf16."""
    x, weights = flush(x).astype(np.float64), flush(weights).astype(np.float64)
    total = np.zeros((len(x), len(weights)), np.float32)
    with np.errstate(invalid="ignore"):
        for begin in range(0, x.shape[1], 32):
            end = min(begin + 32, x.shape[1])
            chains = []
            for parity in (0, 1):
                chain = np.zeros_like(total)
                for k in range(begin + parity, end, 2):
                    chain = round_once(x[:, k, None] * weights[None, :, k] + chain)
                chains.append(chain)
            both = round_once(chains[0].astype(np.float64) + chains[1])
            total = round_once(total.astype(np.float64) + both)
    return total


def run(
    isa: str,
    layer: Layer,
    x: U16,
    residual: F32 | None = None,
    reverse: bool = False,
    bias: F32 | None = None,
    scale: float | None = None,
    digits: U8 | None = None,
) -> F32:
    """The native result; rows behind the last are NaN, and nothing may be written beside y."""
    num_rows, depth = x.shape
    x_stride = -(-depth // 32) * 32
    padded_rows = -(-num_rows // 16) * 16
    padded = aligned(padded_rows * x_stride * 2).view(np.uint16).reshape(padded_rows, x_stride)
    padded[num_rows:] = 0x7FC0
    padded[:num_rows, :depth] = x
    y = np.full((num_rows + 1, layer.num_columns + 3), 12345.0, np.float32)
    if residual is not None:
        y[:num_rows, : layer.num_columns] = residual
    args = LinearArgs(
        layer.weight,
        padded.ctypes.data,
        x_stride,
        y.ctypes.data,
        y.shape[1],
        num_rows,
        residual is not None,
        1.0 if scale is None else scale,
        None if bias is None else bias.ctypes.data,
        None if digits is None else digits.ctypes.data,
        0 if digits is None else digits.shape[1],
    )
    count = library().octavo_test_linear_num_items(isa.encode(), ctypes.byref(args))
    items = [(i, i + 1) for i in reversed(range(count))] if reverse else [(0, count)]
    for begin, end in items:
        assert library().octavo_test_linear(isa.encode(), ctypes.byref(args), begin, end) == 0
    assert (y[num_rows:] == 12345.0).all()
    assert (y[:, layer.num_columns :] == 12345.0).all()
    return y[:num_rows, : layer.num_columns]


def assert_same_bits(actual: F32, wanted: F32) -> None:
    """Equal bits, except that one NaN is as good as another."""
    is_nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(actual), is_nan)
    bits = np.where(is_nan, 0, np.ascontiguousarray(actual).view(np.uint32))
    np.testing.assert_array_equal(bits, np.where(is_nan, 0, np.ascontiguousarray(wanted).view(np.uint32)))


Case = tuple[Layer, U16, F32, F32]


@functools.cache
def case(make: Callable[[np.random.Generator, int, int], Layer], num_columns: int, depth: int) -> Case:
    """A layer, 130 rows of x, a residual, and the sums expected of them."""
    rng = np.random.default_rng(num_columns * 10_000 + depth)
    layer = make(rng, num_columns, depth)
    x = random_bf16(rng, (max(ROWS), depth))
    residual = rng.standard_normal((max(ROWS), num_columns)).astype(np.float32)
    return layer, x, residual, expected(widen(x), layer.weights)


# Functions of one identity, so that cases are found again.
FORMATS = {format.label.lower(): format for format in TensorFormat if format.is_quantized}
QUANTIZED = [functools.partial(random_quantized_layer, format) for format in FORMATS.values()]


@pytest.mark.parametrize("num_columns", COLUMNS)
@pytest.mark.parametrize(
    ("make", "depths"),
    [
        (random_bf16_layer, (16, 48, 80, 576, 1536)),
        (random_q8_0_layer, (32, 96, 576, 1536)),
        (random_q4_1_layer, (32, 96, 576, 1536)),
        *((make, (256, 768)) for make in QUANTIZED),
    ],
    ids=["bf16", "q8_0", "q4_1", *FORMATS],
)
def test_every_shape_keeps_the_order(
    isa: str,
    make: Callable[[np.random.Generator, int, int], Layer],
    depths: tuple[int, ...],
    num_columns: int,
) -> None:
    for depth in depths:
        layer, x, residual, wanted = case(make, num_columns, depth)
        for rows in ROWS:
            assert_same_bits(run(isa, layer, x[:rows]), wanted[:rows])
        assert_same_bits(run(isa, layer, x[:33], residual[:33]), residual[:33] + wanted[:33])
        assert_same_bits(run(isa, layer, x[:3], residual[:3]), residual[:3] + wanted[:3])


@pytest.mark.parametrize("make", QUANTIZED, ids=FORMATS)
def test_a_quantized_layer_equals_its_expansion(
    isa: str, make: Callable[[np.random.Generator, int, int], Layer]
) -> None:
    layer, x, _, _ = case(make, 192, 768)
    expanded = bf16_layer((layer.weights.view(np.uint32) >> 16).astype(np.uint16))
    for rows in (1, 4, 5, 16, 40):
        assert_same_bits(run(isa, layer, x[:rows]), run(isa, expanded, x[:rows]))


# Zeros and values whose products are near the least normal number first, then huge and plain ones.
SMALL = (0.0, -0.0, 1.0, -1.0, 2.0**-126, -(2.0**-126), 2.0**-130, -(2.0**-133), 2.0**-63, 3 * 2.0**-64)
HUGE = (3.3e38, -3.3e38, 1e30, -1e30, 2.0**127, 1.0078125, 2.0**-24)
INFINITE = (np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("with_infinities", [False, True])
def test_special_values(isa: str, with_infinities: bool) -> None:
    """Denormal operands and results, overflow, signed zeros, infinities."""
    rng = np.random.default_rng(7)
    values = np.array(SMALL + HUGE + (INFINITE if with_infinities else ()), np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    small = bits[: len(SMALL)]
    weights, x = random_bf16(rng, (64, 96)), random_bf16(rng, (40, 96))
    for array in (weights, x):
        mask = rng.random(array.shape) < 0.5
        array[mask] = rng.choice(bits, mask.sum())
    x[::4] = rng.choice(small, x[::4].shape)
    weights[::3] = rng.choice(small, weights[::3].shape)
    layer = bf16_layer(weights)
    wanted = expected(widen(x), widen(weights))
    for rows in (1, 3, 16, 40):
        assert_same_bits(run(isa, layer, x[:rows]), wanted[:rows])


def test_results_near_the_least_normal_number(isa: str) -> None:
    """A result is flushed when it is denormal after rounding, also where rounding is what decides."""
    rng = np.random.default_rng(11)
    weights = (rng.integers(-255, 256, (64, 64)) * 2.0**-70).astype(np.float32)
    x = (rng.integers(-255, 256, (33, 64)) * 2.0**-70).astype(np.float32)
    x[0, :4] = (2.0**-63, 0, -(2.0**-75), 0)
    weights[0, :4] = (2.0**-63, 0, 2.0**-76, 0)  # 2^-126 - 2^-151: rounds to the least normal number
    bits = (x.view(np.uint32) >> 16).astype(np.uint16)
    layer = bf16_layer((weights.view(np.uint32) >> 16).astype(np.uint16))
    wanted = expected(widen(bits), layer.weights)
    assert np.count_nonzero(wanted) not in (0, wanted.size)
    for rows in (1, 33):
        assert_same_bits(run(isa, layer, bits[:rows]), wanted[:rows])


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_bias_then_scale_then_residual(isa: str, rows: int) -> None:
    """Each a rounding of its own."""
    layer, x, residual, sums = case(random_q8_0_layer, 33, 96)
    bias = np.random.default_rng(1).standard_normal(33).astype(np.float32)
    scale = np.float32(0.22)
    x, residual, sums = x[:rows], residual[:rows], sums[:rows]
    assert_same_bits(run(isa, layer, x, bias=bias), sums + bias)
    assert_same_bits(run(isa, layer, x, scale=0.22), sums * scale)
    everything = run(isa, layer, x, residual, bias=bias, scale=0.22)
    assert_same_bits(everything, residual + (sums + bias) * scale)


def test_items_are_independent_and_scratch_is_not_remembered(isa: str) -> None:
    for make in (random_bf16_layer, random_q4_1_layer):
        layer, x, residual, _ = case(make, 192, 576)
        for rows in (2, 16, 64):
            whole = run(isa, layer, x[:rows], residual[:rows])
            assert_same_bits(run(isa, layer, x[:rows], residual[:rows], reverse=True), whole)


def test_a_wide_layer_has_items_enough_for_many_threads(isa: str) -> None:
    counts = []
    for num_columns in (1, 33, 576, 5000, 49152):
        args = LinearArgs(LinearWeight(None, 0, num_columns, 32), None, 32, None, num_columns, 1, 0)
        counts.append(library().octavo_test_linear_num_items(isa.encode(), ctypes.byref(args)))
    assert counts[:3] == [1, 2, 18]
    assert all(64 <= count <= 128 for count in counts[3:])


def test_many_rows_pass_in_parts(isa: str) -> None:
    """More rows than there are sums in scratch."""
    rng = np.random.default_rng(3)
    layer = random_q4_1_layer(rng, 17, 64)
    x = random_bf16(rng, (1100, 64))
    assert_same_bits(run(isa, layer, x), expected(widen(x), layer.weights))


def unpacked_row(isa: str, layer: Layer, row: int) -> F32:
    out = np.full(layer.depth + 1, 12345.0, np.float32)
    weight, target = layer.weight, out.ctypes.data_as(ctypes.c_void_p)
    assert library().octavo_test_unpack_row(isa.encode(), ctypes.byref(weight), row, target) == 0
    assert out[-1] == 12345.0
    return out[:-1]


@pytest.mark.parametrize("make", [random_bf16_layer, *QUANTIZED], ids=["bf16", *FORMATS])
def test_unpack_row_is_the_expansion(
    isa: str, make: Callable[[np.random.Generator, int, int], Layer]
) -> None:
    layer = case(make, 33, 768)[0]
    for row in (0, 15, 16, 32):
        assert_same_bits(unpacked_row(isa, layer, row), layer.weights[row])


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_any_block_is_unpacked_to_the_bits_of_the_reference(isa: str, format: TensorFormat) -> None:
    """Extreme scales and digits; signs of zeros too."""
    layer = quantized_layer(format, random_blocks(format, 33 * 24), 33)
    for row in range(33):
        assert_same_bits(unpacked_row(isa, layer, row), layer.weights[row])


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_weights_stay_compressed(format: TensorFormat) -> None:
    packed = library().octavo_packed_bytes(library().octavo_packed_format(kind_of(format)), 64, 1024)
    assert packed <= 1.03 * 64 * format.row_bytes(1024)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_scale_that_is_not_finite_is_reported(format: TensorFormat) -> None:
    """(In the panels of the call that meets it.)"""
    for offset in HALVES[format]:
        for bad in (np.inf, -np.inf, np.nan):
            blocks = model_blocks(format, 33 * 2)
            layer = quantized_layer(format, blocks, 33)
            blocks[2 * 20 + 1, offset : offset + 2] = np.array([bad], "<f2").view(np.uint8)
            layer.source = as_bytes(blocks)
            assert [layer.repack(panel, panel + 1) for panel in range(3)] == [0, NOT_FINITE, 0]


@pytest.mark.parametrize(("source_type", "dtype"), [(F32_TYPE, np.float32), (F16_TYPE, np.float16)])
def test_a_dense_weight_that_is_not_finite_is_reported(source_type: int, dtype: type) -> None:
    values = np.ones((17, 40), dtype)
    layer = Layer(source_type, as_bytes(values), values.astype(np.float32))
    for bad in (np.inf, np.nan, *([3.4e38] if source_type == F32_TYPE else [])):
        values[16, 39] = bad  # 3.4e38 is rounded to infinity
        layer.source = as_bytes(values)
        assert [layer.repack(panel, panel + 1) for panel in range(2)] == [0, NOT_FINITE]


def packed_bytes(source_type: int, source: U8, num_columns: int, depth: int) -> U8:
    return Layer(source_type, source, np.zeros((num_columns, depth), np.float32)).packed


@pytest.mark.parametrize("depth", [16, 80, 576])
def test_half_and_single_precision_are_rounded_to_bf16_once(depth: int) -> None:
    rng = np.random.default_rng(depth)
    halves = rng.integers(0, 1 << 16, (33, depth), np.uint16)
    halves[0, :9] = (0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x7FFF)
    singles = rng.integers(0, 1 << 32, (33, depth), np.uint32)
    singles[0, :8] = (0, 0x80000000, 0x00008000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF)
    with np.errstate(invalid="ignore"):
        from_halves = halves.view(np.float16).astype(np.float32)
    for source_type, source, values in (
        (F16_TYPE, as_bytes(halves), from_halves),
        (F32_TYPE, as_bytes(singles), singles.view(np.float32)),
    ):
        rounded = (add_half_and_mask(values).view(np.uint32) >> 16).astype(np.uint16)
        wanted = packed_bytes(BF16_TYPE, as_bytes(rounded), 33, depth)
        np.testing.assert_array_equal(packed_bytes(source_type, source, 33, depth), wanted)


def test_repacking_refuses_what_does_not_fit() -> None:
    layer = case(random_q4_1_layer, 33, 96)[0]
    assert layer.repack(0, 4) == 1  # 33 columns are three panels
    assert layer.repack(-1, 2) == 1
    assert library().octavo_repack(Q4_1_TYPE, None, None, 16, 48, 0, 1) == 1
    assert library().octavo_repack(kind_of(TensorFormat.Q4_K), None, None, 16, 224, 0, 1) == 1
    assert library().octavo_repack(10, None, None, 16, 32, 0, 1) == 1  # Q2_K
    assert library().octavo_packed_format(10) == -1
    assert library().octavo_packed_bytes(99, 16, 32) == 0
    assert library().octavo_packed_bytes(2, 16, 48) == 0
    assert library().octavo_packed_bytes(2, 17, 64) == 2 * 2 * 320


def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    args = LinearArgs(LinearWeight(None, 0, 16, 32), None, 32, None, 16, 1, 0)
    assert library().octavo_test_linear(b"mmx", ctypes.byref(args), 0, 1) == 1
    assert "portable" in available_isas()
