"""The ctypes side of the C ABI agrees with the C side."""

import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from xxhash import _xxhash

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


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of what declares the C ABI, in place of this package; load_library loads again."""
    package = tmp_path / "octavo"
    for folder in ("backends/cpu", "models"):
        (package / folder).mkdir(parents=True)
    for name in ("backends/cpu/library.py", "models/ops.py"):
        shutil.copy(library._PACKAGE / name, package / name)
    shutil.copy(load_library()._name, package / "backends/cpu")
    monkeypatch.setattr(library, "_PACKAGE", package)
    monkeypatch.setattr(library, "load_library", load_library.__wrapped__)
    return package


def test_an_installed_package_needs_no_header(package: pathlib.Path) -> None:
    assert library.load_library().octavo_has_isa(b"portable") == 1


@pytest.mark.parametrize("name", ["backends/cpu/library.py", "models/ops.py", "backends/cpu/csrc/capi.h"])
def test_a_library_built_from_other_declarations_is_a_start_error(name: str, package: pathlib.Path) -> None:
    (package / name).parent.mkdir(exist_ok=True)  # csrc
    with (package / name).open("a") as file:
        file.write("\n")
    in_checkout = rf"run `tools/setup serve` .* in {package.parents[1]}"
    remedy = in_checkout if "csrc" in name else "run `pip install --force-reinstall"
    with pytest.raises(
        StartError, match=rf"liboctavo.so was built from another version.*\({name}\); {remedy}"
    ):
        library.load_library()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            pathlib.Path(_xxhash.__file__).read_bytes(),
            r"another version .* \(no function octavo_built_from\)",
        ),
        (b"half a file", "cannot be loaded"),
    ],
    ids=["of before", "damaged"],
)
def test_a_library_without_our_functions_is_a_start_error(
    content: bytes, what: str, package: pathlib.Path
) -> None:
    (package / "backends/cpu/liboctavo.so").write_bytes(content)
    with pytest.raises(StartError, match=what):
        library.load_library()


def test_a_package_without_the_library_is_a_start_error(package: pathlib.Path) -> None:
    (package / "backends/cpu/liboctavo.so").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_NAME", "libnowhere.so")
        with pytest.raises(StartError, match=r"libnowhere.so is missing; run `pip install"):
            library._find()


def test_a_server_with_another_library_says_so_once_and_ends(
    tmp_path: pathlib.Path, smollm2_path: pathlib.Path
) -> None:
    """In processes, from a package that is installed as a wheel is."""
    ignored = shutil.ignore_patterns("csrc", "__pycache__")
    package = shutil.copytree(library._PACKAGE, tmp_path / "octavo", ignore=ignored)
    shutil.copy(load_library()._name, package / "backends/cpu")
    with (package / "backends/cpu/library.py").open("a") as file:
        file.write("# changed\n")
    (tmp_path / "sitecustomize.py").write_text(  # an installation for editing would be found first
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n"
    )
    main = "import sys; from octavo.cli.main import main; sys.exit(main())"
    served = subprocess.run(
        [sys.executable, "-c", main, "serve", str(smollm2_path), "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert served.returncode == 2
    assert served.stderr.count("was built from another version of octavo") == 1, served.stderr
    assert "Traceback" not in served.stderr
