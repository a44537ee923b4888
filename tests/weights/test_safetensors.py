import json
import os
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from octavo.core.errors import ModelFileError
from octavo.weights.formats import TensorFormat, expand_to_f32
from octavo.weights.safetensors import INDEX_NAME, SINGLE_NAME, read_directory, read_file
from tests.weights.safetensors_bytes import entry, raw, safetensors

HUGE = 2**62


def write(folder: pathlib.Path, data: bytes, name: str = SINGLE_NAME) -> pathlib.Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_reads_what_the_reference_library_writes(tmp_path: pathlib.Path) -> None:
    matrix = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tensors = {
        "f32": matrix,
        "f16": matrix.to(torch.float16),
        "bf16": matrix.to(torch.bfloat16),
        "norm": torch.ones(5),
        "experts": torch.arange(12.0).reshape(2, 3, 2),
    }
    save_file(tensors, tmp_path / SINGLE_NAME, metadata={"format": "pt"})
    found = read_directory(tmp_path)
    shapes = {name: (t.format, t.num_rows, t.num_columns) for name, t in found.items()}
    assert shapes == {
        "f32": (TensorFormat.F32, 4, 6),
        "f16": (TensorFormat.F16, 4, 6),
        "bf16": (TensorFormat.BF16, 4, 6),
        "norm": (TensorFormat.F32, 5, 1),
        "experts": (TensorFormat.F32, 6, 2),
    }
    for name, tensor in tensors.items():
        expected = tensor.float().numpy().reshape(expand_to_f32(found[name]).shape)
        assert np.array_equal(expand_to_f32(found[name]), expected)


def index(weight_map: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}).encode()


ONE, TWO = {"a": np.ones(2, np.float32)}, {"b": np.zeros((2, 3), np.float16)}


def write_shards(folder: pathlib.Path, weight_map: object) -> pathlib.Path:
    write(folder, safetensors(ONE), "one.safetensors")
    write(folder, safetensors(TWO), "two.safetensors")
    return write(folder, index(weight_map), INDEX_NAME)


def test_shards_are_one_checkpoint(tmp_path: pathlib.Path) -> None:
    write_shards(tmp_path, {"b": "two.safetensors", "a": "one.safetensors"})
    assert read_directory(tmp_path).keys() == {"a", "b"}


@pytest.mark.parametrize(
    ("weight_map", "complaint"),
    [
        ({"a": "one.safetensors"} | {"b": "one.safetensors"}, "'b' is not in one.safetensors"),
        ({"b": "two.safetensors", "a": "two.safetensors"}, "'a' is not in two.safetensors"),
        ({"a": "one.safetensors", "x": "two.safetensors"}, "'b' is in two.safetensors, where the index"),
        ({"a": "three.safetensors"}, "three.safetensors: there is no such file"),
        ({"a": "../one.safetensors"}, "allowed are names of .safetensors files beside the index"),
        ({"a": "/etc/one.safetensors"}, "allowed are names of .safetensors files beside the index"),
        ({"a": "one.bin"}, "allowed are names of .safetensors files beside the index"),
        ({"a": "a\0.safetensors"}, "allowed are names of .safetensors files beside the index"),
        ({"a": ["one.safetensors"]}, "allowed are names of .safetensors files beside the index"),
        ({}, "no weight_map"),
        (["one.safetensors"], "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    weight_map: object, complaint: str, tmp_path: pathlib.Path
) -> None:
    write_shards(tmp_path, weight_map)
    with pytest.raises(ModelFileError, match=complaint):
        read_directory(tmp_path)


BROKEN = {
    "too short": (b"1234567", "it has 7 bytes"),
    "header past the end": (raw({}, length=99), "claims a header of 99 bytes"),
    "huge header": (raw({}, length=2**64 - 1), f"claims a header of {2**64 - 1} bytes"),
    "not json": (raw(b"{"), "not valid JSON"),
    "not an object": (raw([]), "not a JSON object"),
    "same name twice": (raw(b'{"a": 1, "a": 1}'), "'a' appears twice"),
    "no entry": (raw({"a": 7}), "'a' has the data offsets None"),
    "no offsets": (raw({"a": {"dtype": "F32", "shape": [1]}}), "'a' has the data offsets None"),
    "three offsets": (raw({"a": {"data_offsets": [0, 0, 0]}}), "offsets \\[0, 0, 0\\]"),
    "negative": (raw({"a": entry("F32", [1], -4, 0)}, b"\0" * 4), "data offsets \\[-4, 0\\]"),
    "backwards": (raw({"a": entry("F32", [1], 4, 0)}, b"\0" * 4), "lies at bytes 4 to 0"),
    "fraction": (raw({"a": entry("F32", [1], 0, 4.0)}, b"\0" * 4), "data offsets \\[0, 4.0\\]"),
    "truth": (raw({"a": entry("F32", [True], 0, 4)}, b"\0" * 4), "the shape \\[True\\]"),
    "past the end": (raw({"a": entry("F32", [2], 0, 8)}, b"\0" * 4), "the file has 4 bytes of data"),
    "far past": (raw({"a": entry("F32", [HUGE], 0, 4 * HUGE)}), "'a' has the data offsets"),
    "overflow": (raw({"a": entry("F32", [HUGE, HUGE, 4], 0, 4)}, b"\0" * 4), "has 4 bytes of data"),
    "unknown type": (
        raw({"a": entry("F8_E4M3", [4], 0, 4)}, b"\0" * 4),
        "stored as 'F8_E4M3'; supported: F32",
    ),
    "type of no text": (raw({"a": entry(["F32"], [1], 0, 4)}, b"\0" * 4), "is stored as \\['F32'\\]"),
    "no axes": (raw({"a": entry("F32", [], 0, 4)}, b"\0" * 4), "the shape \\[\\]"),
    "four axes": (raw({"a": entry("F32", [1] * 4, 0, 4)}, b"\0" * 4), "supported: 1 to 3 axes"),
    "empty axis": (raw({"a": entry("F32", [0], 0, 0)}), "none empty"),
    "wrong size": (raw({"a": entry("F32", [2], 0, 4)}, b"\0" * 4), "has 4 bytes of data"),
    "overlap": (
        raw({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, b"\0" * 12),
        "'b' at byte 4 of the data overlaps",
    ),
    "hole": (raw({"a": entry("F32", [1], 4, 8)}, b"\0" * 8), "'a' at byte 4 of the data leaves a hole"),
    "rest": (raw({"a": entry("F32", [1], 0, 4)}, b"\0" * 8), "end at byte 4 of 8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_and_reason(case: str, tmp_path: pathlib.Path) -> None:
    data, complaint = BROKEN[case]
    path = write(tmp_path, data)
    with pytest.raises(ModelFileError, match=complaint) as caught:
        read_file(path)
    assert str(path) in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: pathlib.Path) -> None:
    whole = safetensors(ONE | TWO, {"format": "pt"})
    assert len(read_file(write(tmp_path, whole))) == 2
    for length in range(len(whole)):
        with pytest.raises(ModelFileError):
            read_file(write(tmp_path, whole[:length]))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_refused_unread(name: str, tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, b"cos\nsystem\n(S'exit 1'\ntR.", name)
    path.chmod(0)
    with pytest.raises(ModelFileError, match=f"{name}: weights in a pickle are not read.*to safetensors"):
        read_directory(tmp_path)


def test_missing_files_and_pipes_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match=r"neither model\.safetensors nor"):
        read_directory(tmp_path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    write(tmp_path, index({"a": "pipe.safetensors"}), INDEX_NAME)
    with pytest.raises(ModelFileError, match="no such file"):
        read_directory(tmp_path)
