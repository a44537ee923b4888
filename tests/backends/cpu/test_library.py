"""The ctypes side of the C ABI agrees with the C side."""

import ctypes
import pathlib
import re

import pytest

from octavo.backends.cpu import library
from octavo.backends.cpu.library import load_library
from octavo.core.errors import StartError

CAPI = pathlib.Path(library.__file__).parent / "csrc"


def c_struct_fields(name: str) -> list[str]:
    text = (CAPI / "capi.h").read_text() + (CAPI / "kernels.h").read_text()
    body = re.search(rf"struct {name} {{(.*?)\n}};", text, re.S).group(1)
    body = re.sub(r"//[^\n]*|template.*?}", "", body, flags=re.S)
    declared = re.sub(r"alignas\(\d+\)|const|\[\w+\]|\*", "", body)
    return [
        field.strip()
        for declaration in declared.split(";")
        if declaration.strip()
        for field in declaration.strip().split(" ", 1)[1].split(",")
    ]


@pytest.mark.parametrize(
    "struct",
    [
        library.BufferDesc,
        library.LinearWeight,
        library.WeightDesc,
        library.KVGroupDesc,
        library.RopeTableDesc,
        library.OpDesc,
        library.ExecutorDesc,
        library.AdmissionDesc,
        library.StepDesc,
    ],
)
def test_structs_have_the_fields_of_the_header_in_order(struct: type[ctypes.Structure]) -> None:
    assert [name for name, _ in struct._fields_] == c_struct_fields(struct.__name__)


def test_the_library_is_loaded_once() -> None:
    assert load_library() is load_library()
    assert load_library().octavo_has_isa(b"portable") == 1
    assert load_library().octavo_has_isa(b"sse9") == 0
    assert load_library().octavo_default_isa().decode() in ("portable", "avx2", "avx512", "amx")


def test_a_package_without_the_library_is_a_start_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    monkeypatch.setattr(library, "_NAME", "libnowhere.so")
    with pytest.raises(StartError, match="libnowhere"):
        library._find()
