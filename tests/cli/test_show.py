import pathlib
import sys

import pytest

from octavo.cli.show import show
from octavo.cli.tables import size
from octavo.models.hub import RemoteFile, Snapshot, write_manifest
from tests.weights.gguf_bytes import model_file, tiny_metadata, tiny_tensors


def test_a_path_is_described_without_its_program(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTAVO_HOME", str(tmp_path / "home"))
    path = tmp_path / "tiny.gguf"
    path.write_bytes(model_file(tiny_metadata(), tiny_tensors()))
    show(str(path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Tiny" and lines[-2] == "chat template  yes"
    assert not any(line.startswith("program") for line in lines)


def test_a_model_of_ours_has_a_licence(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTAVO_HOME", str(tmp_path))
    folder = tmp_path / "models" / "org" / "tiny"
    folder.mkdir(parents=True)
    content = model_file(tiny_metadata(), tiny_tensors())
    (folder / "tiny-F32.gguf").write_bytes(content)
    write_manifest(folder, {"": Snapshot("c", "mit", (RemoteFile("tiny-F32.gguf", len(content), "d"),))})
    show("org/tiny")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "licence        mit",
        f"on disk        {size(len(content))}, GGUF F32",
    ]


def test_a_terminal_gets_no_line_that_is_too_long(
    smollm2_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(str(smollm2_path))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(smollm2_path) not in line) < 60
