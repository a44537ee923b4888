import pathlib

import numpy as np
import pytest

from octavo.cli.list import list_models
from octavo.models.catalog import GEMMA3, SMOLLM2
from octavo.weights.repacked import RepackedFiles


def test_models_here_and_models_to_be_had(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTAVO_HOME", str(tmp_path))
    path = SMOLLM2.path(tmp_path)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(SMOLLM2.num_bytes)  # sparse
    part = tmp_path / "models" / f".{GEMMA3.name}.fetch" / "whole"
    part.parent.mkdir()
    part.write_bytes(b"x" * 2048)
    list_models()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "FORMAT", "LAST", "USED"]
    told = {line.split("  ")[0]: line for line in lines[1:4]}
    assert told["smollm2-135m-instruct"].endswith("94 MiB  GGUF Q4_1    just now")
    assert told["gemma3-270m"].endswith("2 KiB  GGUF Q4_K_M  incomplete: octavo pull goes on")
    assert told["qwen2.5-coder-1.5b"].endswith("1.0 GiB  GGUF Q4_K_M  not here: octavo pull")
    assert lines[-1] == f"{tmp_path / 'models'}: 94 MiB"
    files = RepackedFiles.of_home(tmp_path)
    files.keep("key", np.zeros(3 << 20, np.uint8), fingerprint="", source=path)
    list_models()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{files.folder}: 3 MiB, weights packed by earlier starts"
