import io
import pathlib

import numpy as np
import pytest

from octavo.cli.rm import rm
from octavo.core.errors import ModelFileError, StartError
from octavo.models.catalog import SMOLLM2
from octavo.weights.repacked import RepackedFiles


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setenv("OCTAVO_HOME", str(tmp_path))
    path = SMOLLM2.path(tmp_path)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(SMOLLM2.num_bytes)  # sparse
    return path


@pytest.mark.parametrize(
    ("answer", "status", "is_there"),
    [("y\n", 0, False), ("YES\n", 0, False), ("\n", 1, True), ("n\n", 1, True), ("", 1, True)],
)
def test_it_asks_on_a_terminal(
    answer: str, status: int, is_there: bool, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert rm("smollm2-135m-instruct") == status
    assert path.exists() is is_there


def test_yes_does_not_ask(path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rm("default", "smollm2-135m-instruct", yes=True) == 0  # by two names, once
    assert not path.exists()
    assert capsys.readouterr().out == "removed smollm2-135m-instruct, 94 MiB\n"


def test_packed_weights_go_with_their_model(
    path: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = RepackedFiles.of_home(tmp_path)
    files.keep("key", np.zeros(3 << 20, np.uint8), fingerprint="", source=path)
    files.keep("other", np.zeros(3, np.uint8), fingerprint="", source=tmp_path / "else")
    assert rm("default", yes=True) == 0
    assert [file.source for file in files.files()] == [str(tmp_path / "else")]
    assert capsys.readouterr().out.endswith("94 MiB, and 3 MiB of its packed weights\n")


def test_without_a_terminal_it_removes_nothing(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(StartError, match="say --yes"):
        rm("default")
    assert path.exists()


def test_one_name_that_is_wrong_removes_nothing(path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match="gemma3-270m is not in"):
        rm("default", "gemma3-270m", yes=True)
    assert path.exists()


def test_a_name_is_needed() -> None:
    with pytest.raises(StartError, match="octavo rm needs the name"):
        rm()
