"""The checks of `octavo doctor`, on machines made of files."""

import contextlib
import pathlib
from collections.abc import Callable

import pytest

from octavo.cli import examination
from octavo.cli.finding import Grade
from octavo.config import Environment
from octavo.core.errors import StartError
from octavo.http.listener import listen
from octavo.models.catalog import SMOLLM2

WriteFile = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: pathlib.Path) -> WriteFile:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_this_machine_can_serve(tmp_path: pathlib.Path) -> None:
    findings = list(examination.examine(Environment(tmp_path, None, None, "info")))
    assert [finding.subject for finding in findings if finding.grade is Grade.FAIL] == []
    assert len({finding.subject for finding in findings}) == len(findings) == 12
    assert all(finding.advice for finding in findings if finding.grade is not Grade.OK)


def test_cores_withheld_by_a_control_group(write: WriteFile, tmp_path: pathlib.Path) -> None:
    write("proc/cpuinfo", "processor : 0\nmodel name\t: Abacus 9\n")
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/cpu.max", "100000 100000\n")
    finding = examination.cores(tmp_path)
    assert finding.text.startswith("1 of ") and "Abacus 9" in finding.text


def test_little_memory_is_fatal(write: WriteFile, tmp_path: pathlib.Path) -> None:
    write("proc/meminfo", "MemAvailable: 200000 kB\n")
    assert examination.memory(tmp_path).grade is Grade.FAIL
    write("proc/meminfo", "MemAvailable: 2000000 kB\n")
    assert examination.memory(tmp_path).grade is Grade.OK


@pytest.mark.parametrize(
    ("text", "grade"),
    [("always [madvise] never\n", Grade.OK), ("always madvise [never]\n", Grade.NOTE), ("", Grade.NOTE)],
)
def test_huge_pages(text: str, grade: Grade, write: WriteFile, tmp_path: pathlib.Path) -> None:
    write("sys/kernel/mm/transparent_hugepage/enabled", text)
    assert examination.huge_pages(tmp_path).grade is grade


@pytest.mark.parametrize(("average", "grade"), [("0.10", Grade.OK), ("7.50", Grade.NOTE)])
def test_others_that_compute(average: str, grade: Grade, write: WriteFile, tmp_path: pathlib.Path) -> None:
    write("proc/loadavg", f"{average} 1.00 1.00 2/300 9999\n")
    assert examination.load(tmp_path, usable_cores=2).grade is grade


@pytest.mark.parametrize(
    ("forced", "grade"), [("portable", Grade.NOTE), ("abacus", Grade.FAIL)], ids=["slower", "unknown"]
)
def test_a_forced_instruction_set(forced: str, grade: Grade) -> None:
    finding = examination.instruction_set(forced)
    assert finding.grade is grade and "nset" in finding.advice


def test_a_missing_library_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise StartError("The native library is missing.")

    monkeypatch.setattr(examination, "load_library", missing)
    assert examination.instruction_set(None).grade is Grade.FAIL


@pytest.mark.parametrize(
    ("isa", "advice"),
    [("portable", "A processor with AVX2"), ("avx2", "int8"), ("avx512", "int8"), ("amx", "")],
)
def test_a_processor_is_told_what_would_be_faster(
    isa: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "default_isa", lambda: isa)
    finding = examination.instruction_set(None)
    assert advice in finding.advice and (finding.grade is Grade.NOTE) is bool(advice)
    assert finding.text.startswith(isa)


def test_memory_is_read_at_some_speed() -> None:
    assert examination._read_rate(2, 1 << 20, 2) > 0


@pytest.mark.parametrize(
    ("prefix", "built_with", "grade"),
    [
        ("/usr", "'--enable-shared'", Grade.OK),
        ("/opt/python", "'--enable-optimizations' '--with-lto'", Grade.OK),
        ("/opt/python", "'--enable-shared'", Grade.NOTE),
    ],
)
def test_a_python_that_is_slower_than_need_be(prefix: str, built_with: str, grade: Grade) -> None:
    finding = examination.interpreter(prefix, built_with)
    assert finding.grade is grade and prefix in finding.text


def test_no_compiler_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert examination.compiler().grade is Grade.OK


def test_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examination.home(tmp_path / "not" / "there").text.startswith(f"{tmp_path}/not/there, ")
    monkeypatch.setattr(examination, "LITTLE_DISK", 1 << 60)
    assert examination.home(tmp_path).grade is Grade.NOTE
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert examination.home(tmp_path).grade is Grade.FAIL


def test_models(tmp_path: pathlib.Path) -> None:
    assert "octavo pull" in examination.models(tmp_path).advice
    path = SMOLLM2.path(tmp_path)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(SMOLLM2.num_bytes)  # sparse
    assert examination.models(tmp_path).text == SMOLLM2.name


@pytest.mark.parametrize("missing", ["pip", "huggingface_hub"])
def test_what_fetches(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    finding = examination.installers()
    assert finding.grade is Grade.NOTE and ("hub" in finding.advice) is (missing == "huggingface_hub")


def test_a_port_that_is_taken() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        finding = examination.port("127.0.0.1", listener.getsockname()[1])
    assert finding.grade is Grade.NOTE and "is taken" in finding.text
    assert examination.port("127.0.0.1", 0).grade is Grade.OK
