"""The builds for different instruction sets share one library without sharing code, and restore the FPU.

A weak function (a template of the standard library, say) compiled once with AVX-512 and once without is one
function to the linker, which may keep the copy that an older processor cannot run.
"""

import ctypes
import functools
import platform
import re
import shutil
import subprocess

import numpy as np
import pytest

from octavo.backends.cpu.library import LinearWeight, load_library

BUILDS = ("portable", "avx2", "avx512", "amx", "amx_emulated")
WIDE_REGISTER = re.compile(r"%(ymm|zmm|tmm|k[1-7]\b)|\tv\w+ .*%xmm")
ALLOWED = {
    "portable": re.compile(r"(?!)"),
    "avx2": re.compile(r"%ymm|\tv\w+ .*%xmm"),
    "avx512": re.compile(r"%(ymm|zmm|k[1-7]\b)|\tv\w+ .*%xmm"),
    "amx": WIDE_REGISTER,
    "amx_emulated": re.compile(r"%ymm|\tv\w+ .*%xmm"),
}

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one build")


def binutils(tool: str, *options: str) -> list[str]:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    command = [tool, *options, load_library()._name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def build_of(function: str) -> str:
    """The build a function belongs to; what belongs to none must run everywhere, as the portable one does."""
    found = re.search(rf"octavo::({'|'.join(BUILDS)})::", function)
    return found.group(1) if found else "portable"


@functools.cache
def disassembly() -> list[tuple[str, str]]:
    """(function, instruction) for every instruction that uses a register beyond the baseline's."""
    found, function = [], ""
    for line in binutils("objdump", "-d", "-C", "--no-show-raw-insn"):
        if line.endswith(">:"):
            function = line.split(" <", 1)[1]
        elif WIDE_REGISTER.search(line):
            found.append((function, line.strip()))
    return found


def test_every_build_is_there() -> None:
    names = "\n".join(binutils("nm", "-C"))
    for build in BUILDS:
        assert f"octavo::{build}::KERNELS" in names


def test_no_weak_symbol_is_ours() -> None:
    weak = [line for line in binutils("nm", "-C") if re.search(r" [WwVvu] .*octavo::", line)]
    assert weak == []


def test_only_the_c_abi_is_exported() -> None:
    exported = [line.split()[-1] for line in binutils("nm", "-D", "--defined-only")]
    assert [name for name in exported if not name.startswith("octavo_")] == []
    assert "octavo_repack" in exported


def test_each_function_keeps_to_its_instruction_set() -> None:
    wrong = [(f, i) for f, i in disassembly() if not ALLOWED[build_of(f)].search(i)]
    assert wrong == []
    assert {build_of(function) for function, _ in disassembly()} == set(BUILDS) - {"portable"}


def test_a_call_leaves_the_floating_point_mode_as_it_was() -> None:
    denormal = np.array([1e-40], np.float32)
    library = load_library()
    data = np.zeros(64 + 1024, np.uint8)
    weight = LinearWeight(data.ctypes.data + -data.ctypes.data % 64, 0, 16, 32)
    out = np.zeros(32, np.float32)
    pointer = ctypes.c_void_p(out.ctypes.data)
    assert library.octavo_test_unpack_row(None, ctypes.byref(weight), 0, pointer) == 0
    assert (denormal * np.float32(0.5) != 0).all()
