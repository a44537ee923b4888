"""Blocks of quantized formats, of any bytes a file may hold: for comparing readings of them."""

import numpy as np

from octavo.weights.formats import TensorFormat

# Byte offsets of the f16 numbers of a block.
HALVES = {
    TensorFormat.Q8_0: [0],
    TensorFormat.Q4_0: [0],
    TensorFormat.Q4_1: [0, 2],
    TensorFormat.Q5_0: [0],
    TensorFormat.Q5_1: [0, 2],
    TensorFormat.Q4_K: [0, 2],
    TensorFormat.Q5_K: [0, 2],
    TensorFormat.Q6_K: [208],
}
# The least and greatest subnormal, the least normal and the greatest number of half precision, zeros, one.
EXTREME_HALVES = (0x0001, 0x03FF, 0x0400, 0x7BFF, 0x0000, 0x8000, 0x8001, 0xFBFF, 0x3C00, 0xBC00)


def random_blocks(format: TensorFormat, num_blocks: int, seed: int = 7) -> np.ndarray:
    """[num_blocks, block_bytes]: scales about 1, but a third extreme ones; in another third all digits are
    alike."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (num_blocks, format.block_bytes), np.uint8)
    blocks[::3] = rng.choice(np.array([0x00, 0xFF, 0x0F, 0xF0, 0x80, 0x7F], np.uint8), (len(blocks[::3]), 1))
    for offset in HALVES[format]:
        halves = rng.normal(size=num_blocks).astype("<f2")
        halves[1::3] = rng.choice(np.array(EXTREME_HALVES, "<u2").view("<f2"), len(halves[1::3]))
        blocks[:, offset : offset + 2] = halves[:, None].view(np.uint8)
    return blocks


def model_blocks(format: TensorFormat, num_blocks: int, seed: int = 7) -> np.ndarray:
    """The same with values of about 0.1, as weights have: any digits, small scales."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (num_blocks, format.block_bytes), np.uint8)
    spread = 2.0 ** (8 if format.block_size == 256 else 3)
    for i, offset in enumerate(HALVES[format]):
        halves = rng.normal(0, (0.5, 2.0)[i] / spread, num_blocks).astype("<f2")
        blocks[:, offset : offset + 2] = halves[:, None].view(np.uint8)
    return blocks
