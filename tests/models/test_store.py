"""What lies in the folder of models: told, and taken away."""

import os
import pathlib

import pytest

from octavo.core.errors import ModelFileError
from octavo.models.catalog import GEMMA3, SMOLLM2
from octavo.models.hub import RemoteFile, Snapshot, write_manifest
from octavo.models.store import remove, stored_model, stored_models


def put(path: pathlib.Path, num_bytes: int, used: float = 1000.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(num_bytes)  # sparse
    os.utime(path, (used, used))


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """The built-in, half a gemma, choices of a repository, a checkpoint; and files of somebody else."""
    put(SMOLLM2.path(tmp_path), SMOLLM2.num_bytes, used=5000)
    put(tmp_path / "models" / f".{GEMMA3.name}.fetch" / "whole", 10, used=1)
    folder = tmp_path / "models" / "org" / "gguf"
    shared, other = RemoteFile("tiny-Q4_K_M.gguf", 40, "a"), RemoteFile("tiny.f16.gguf", 160, "b")
    put(folder / shared.name, 40, used=3000)
    put(folder / other.name, 160, used=4000)
    snapshots = {"": (shared,), "q4_k_m": (shared,), "F16": (other,)}
    write_manifest(folder, {choice: Snapshot("c", "mit", files) for choice, files in snapshots.items()})
    checkpoint = tmp_path / "models" / "org" / "tiny@refs--pr--1"
    files = tuple(RemoteFile(name, 5, "d") for name in ("config.json", "model.safetensors"))
    put(checkpoint / "config.json", 5, used=2000)
    write_manifest(checkpoint, {"": Snapshot("c", "", files)})
    put(tmp_path / "models" / "org" / "begun" / ".model.safetensors.abc.part", 7)
    split = tmp_path / "models" / "org" / "split"
    parts = tuple(RemoteFile(f"BF16/big-0000{n}-of-00002.gguf", 9, "e") for n in (1, 2))
    for part in parts:
        put(split / part.name, 9, used=2500)
    put(split / "big-Q8_0.gguf", 4, used=2400)
    whole = RemoteFile("big-Q8_0.gguf", 4, "f")
    write_manifest(split, {"": Snapshot("c", "mit", parts), "Q8_0": Snapshot("c", "mit", (whole,))})
    put(tmp_path / "models" / "own.gguf", 3)
    put(tmp_path / "models" / "own" / "folder" / "file", 3)
    return tmp_path


def test_models_are_told_the_last_used_first(home: pathlib.Path) -> None:
    models = stored_models(home)
    told = {model.name: (model.num_bytes, model.format, model.is_complete) for model in models}
    assert told == {
        "smollm2-135m-instruct": (SMOLLM2.num_bytes, "GGUF Q4_1", True),
        "org/gguf:F16": (160, "GGUF F16", True),
        "org/gguf": (40, "GGUF Q4_K_M", True),
        "org/gguf:q4_k_m": (40, "GGUF Q4_K_M", True),
        "org/split": (18, "GGUF BF16", True),
        "org/split:Q8_0": (4, "GGUF Q8_0", True),
        "org/tiny@refs/pr/1": (10, "safetensors", False),  # its weights are gone
        "gemma3-270m": (10, "GGUF Q4_K_M", False),
        "org/begun": (7, "", False),
    }
    assert [model.name for model in models][:2] == ["smollm2-135m-instruct", "org/gguf:F16"]


def test_a_model_has_its_licence(home: pathlib.Path) -> None:
    assert stored_model("default", home).licence == "Apache-2.0"
    assert stored_model("org/gguf", home).licence == "mit"


def test_what_is_not_there_is_told(home: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match=r"qwen2\.5-coder-1\.5b is not in .*octavo list"):
        stored_model("qwen2.5-coder-1.5b", home)


def test_without_a_folder_there_are_none(tmp_path: pathlib.Path) -> None:
    assert stored_models(tmp_path) == []


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m", "org/tiny@refs/pr/1", "org/begun"])
def test_a_removed_model_leaves_nothing(name: str, home: pathlib.Path) -> None:
    model = stored_model(name, home)
    others = [other for other in stored_models(home) if other.name != name]
    remove(model, home)
    assert not any(path.exists() for path in model.paths)
    assert stored_models(home) == others


def test_a_file_of_two_choices_stays_for_the_other(home: pathlib.Path) -> None:
    folder = home / "models" / "org" / "gguf"
    remove(stored_model("org/gguf", home), home)
    assert (folder / "tiny-Q4_K_M.gguf").exists()
    remove(stored_model("org/gguf:q4_k_m", home), home)
    assert not (folder / "tiny-Q4_K_M.gguf").exists()
    remove(stored_model("org/gguf:F16", home), home)
    assert not folder.exists()


def test_a_split_model_is_removed_with_all_its_parts(home: pathlib.Path) -> None:
    folder = home / "models" / "org" / "split"
    remove(stored_model("org/split", home), home)
    assert not (folder / "BF16").exists()
    assert (folder / "big-Q8_0.gguf").exists()
    assert "org/split" not in {model.name for model in stored_models(home)}


def test_the_last_model_of_an_organisation_takes_its_folder_along(home: pathlib.Path) -> None:
    for name in (
        "org/gguf",
        "org/gguf:q4_k_m",
        "org/gguf:F16",
        "org/tiny@refs/pr/1",
        "org/begun",
        "org/split",
        "org/split:Q8_0",
    ):
        remove(stored_model(name, home), home)
    assert not (home / "models" / "org").exists()
    assert (home / "models" / "own.gguf").exists()
