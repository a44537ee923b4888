import pathlib

import pytest

from octavo.cli.pull import pull


def test_the_path_of_a_model_that_is_there_is_printed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTAVO_HOME", str(tmp_path))
    path = tmp_path / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(98_362_432)  # sparse: as long as the real one
    pull()
    assert capsys.readouterr().out == f"{path}\n"
