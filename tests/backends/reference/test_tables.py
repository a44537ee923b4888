"""Rotary tables: accurate, and the same bits from NumPy, from the native library and on any processor."""

import ctypes
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from octavo.backends.cpu.library import load_library
from octavo.backends.reference.tables import rope_table
from octavo.models.rotary import Rope, RopePairing

SHAPES = [(4096, 64, 10000.0), (900, 128, 500000.0), (70, 16, 100000.0), (300, 80, 1e6)]


def frequencies(head_dim: int, base: float) -> np.ndarray:
    return np.array(Rope(base, RopePairing.HALVES, head_dim).frequencies())


@pytest.mark.parametrize(("num_positions", "head_dim", "base"), SHAPES)
def test_accurate_to_the_last_bit_of_fp32(num_positions: int, head_dim: int, base: float) -> None:
    cos, sin = rope_table(num_positions, frequencies(head_dim, base))
    angle = np.arange(num_positions)[:, None] * base ** (-2 * np.arange(head_dim // 2) / head_dim)
    np.testing.assert_allclose(cos, np.cos(angle), atol=6e-8)
    np.testing.assert_allclose(sin, np.sin(angle), atol=6e-8)


@pytest.mark.parametrize(("num_positions", "head_dim", "base"), SHAPES)
def test_the_library_computes_the_same_bits(num_positions: int, head_dim: int, base: float) -> None:
    ours = [np.empty((num_positions, head_dim // 2), np.float32) for _ in range(2)]
    pointers = (ctypes.c_void_p(table.ctypes.data) for table in ours)
    own = frequencies(head_dim, base)
    load_library().octavo_rope_table(num_positions, head_dim // 2, own.ctypes.data, 1.25, *pointers)
    for native, reference in zip(ours, rope_table(num_positions, own, 1.25), strict=True):
        np.testing.assert_array_equal(native.view(np.uint32), reference.view(np.uint32))


def test_the_same_bits_without_numpys_own_dispatch() -> None:
    """NumPy picks its loops by processor; ours must not depend on which."""
    code = (
        "import hashlib; from tests.backends.reference.test_tables import frequencies, rope_table;"
        "tables = rope_table(512, frequencies(64, 1e5));"
        "print(hashlib.sha256(b''.join(t.tobytes() for t in tables)).hexdigest())"
    )
    dispatched = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = dict(os.environ, NPY_DISABLE_CPU_FEATURES=" ".join(dispatched))
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    tables = rope_table(512, frequencies(64, 1e5))
    here = hashlib.sha256(b"".join(table.tobytes() for table in tables)).hexdigest()
    assert result.stdout.strip() == here, result.stderr
