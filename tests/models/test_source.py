"""A model's name becomes its file: paths, the catalogue, hub ids."""

import os
import pathlib

import pytest

from octavo.core.errors import ModelFileError
from octavo.models.catalog import SMOLLM2
from octavo.models.hub import RemoteFile, Snapshot, write_manifest
from octavo.models.source import pull, resolve, served_name, whereabouts


@pytest.fixture
def built_in(tmp_path: pathlib.Path) -> pathlib.Path:
    path = SMOLLM2.path(tmp_path)
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(SMOLLM2.num_bytes)  # sparse: as long as the real one
    return path


def hub_model(home: pathlib.Path, repo: str, choice: str, *names: str) -> None:
    folder = home / "models" / repo
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    snapshot = Snapshot("abc", "mit", tuple(RemoteFile(name, 1, "d") for name in names))
    write_manifest(folder, {choice: snapshot})


def test_a_path_is_taken_as_it_is(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(b"")
    for given in (path, tmp_path):
        assert resolve(str(given), tmp_path) == pull(str(given), tmp_path) == given


def test_a_name_is_the_file_that_was_fetched(built_in: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert resolve("SmolLM2-135M-Instruct", tmp_path) == pull("default", tmp_path) == built_in


def test_a_model_of_a_hub_that_is_here_needs_no_hub(tmp_path: pathlib.Path) -> None:
    hub_model(tmp_path, "org/tiny", "", "config.json", "model.safetensors")
    assert resolve("org/tiny", tmp_path) == tmp_path / "models" / "org" / "tiny"
    hub_model(tmp_path, "org/gguf@v1", "Q8_0", "tiny-Q8_0.gguf")
    assert resolve("org/gguf:Q8_0@v1", tmp_path) == tmp_path / "models" / "org" / "gguf@v1" / "tiny-Q8_0.gguf"


def test_what_is_to_be_fetched_first_is_said(built_in: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert whereabouts("default", tmp_path) is None
    assert "not on this disk yet" in str(whereabouts("org/tiny", tmp_path))
    with pytest.raises(ModelFileError, match="There is no model 'tiny'"):
        whereabouts("tiny", tmp_path)
    hub_model(tmp_path, "org/tiny", "", "config.json", "model.safetensors")
    assert whereabouts("org/tiny", tmp_path) is None


def test_the_time_of_use_is_kept(built_in: pathlib.Path, tmp_path: pathlib.Path) -> None:
    hub_model(tmp_path, "org/tiny", "", "config.json", "model.safetensors")
    config = tmp_path / "models" / "org" / "tiny" / "config.json"
    for name, file in (("default", built_in), ("org/tiny", config)):
        os.utime(file, (1000, 1000))
        resolve(name, tmp_path)
        assert file.stat().st_atime > 1000 and file.stat().st_mtime == 1000


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("none.gguf", r"none\.gguf: no such file"),
        ("folder/none.gguf", r"folder/none\.gguf: no such file"),
        ("./org/name", "no such file"),
        ("gema3-270m", "Did you mean gemma3-270m"),
        ("Qwen", "Did you mean qwen2.5-coder-1.5b"),
        ("nonsense", "Known by name: smollm2-135m-instruct"),
    ],
)
def test_what_is_no_model_is_told(model: str, complaint: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        resolve(model, tmp_path)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("default", "smollm2-135m-instruct"),
        ("Gemma3-270M", "gemma3-270m"),
        ("org/name:Q8_0", "org/name:Q8_0"),
        ("/models/own.gguf", "own"),
        ("models/own.gguf", "own"),
        ("/models/own-00002-of-00003.gguf", "own"),
        ("/models/folder/", "folder"),
    ],
)
def test_a_model_is_served_under_its_name(model: str, name: str) -> None:
    assert served_name(model) == name
