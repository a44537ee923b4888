import dataclasses
import pathlib

import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.core.tensor_slice import TensorSlice
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import Tensor, TensorFormat, expand_to_f32
from octavo.weights.mapped_file import MappedFile
from tests.weights.test_mapped_file import resident_kib

SHAPES = {"embedding": (4, 2), "norm": (2, 1)}
ARRAYS = {"embedding": np.arange(8, dtype=np.float32).reshape(4, 2), "norm": np.ones(2, np.float32)}
NAMES = {"embedding": "token_embd.weight", "norm": "output_norm.weight"}


def file_tensors() -> dict[str, Tensor]:
    return {NAMES[part]: Tensor.of(NAMES[part], array) for part, array in ARRAYS.items()}


def test_parts_are_found_under_the_names_of_the_file() -> None:
    checkpoint = Checkpoint.of_file("m.gguf", file_tensors(), NAMES, SHAPES)
    assert [tensor.name for tensor in checkpoint.parts.values()] == list(NAMES.values())
    assert checkpoint.num_bytes == 40


def test_files_are_those_of_the_parts_and_their_pages_are_dropped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(1 << 20))
    file = MappedFile(path)
    tensors = {name: dataclasses.replace(tensor, file=file) for name, tensor in file_tensors().items()}
    checkpoint = Checkpoint.of_file("m.gguf", tensors, NAMES, SHAPES)
    assert checkpoint.files == [file]
    assert len(bytes(file.mapping)) == 1 << 20 and resident_kib(path) == 1 << 10
    checkpoint.drop_pages(is_read_again=True)
    assert resident_kib(path) == 0
    assert Checkpoint.of_file("m.gguf", file_tensors(), NAMES, SHAPES).files == []


def test_missing_tensors_are_named() -> None:
    tensors = file_tensors()
    del tensors["output_norm.weight"]
    with pytest.raises(ModelFileError, match=r"m\.gguf: tensors are missing: output_norm\.weight"):
        Checkpoint.of_file("m.gguf", tensors, NAMES, SHAPES)


def test_a_tensor_nobody_would_compute_with_is_refused() -> None:
    tensors = file_tensors() | {"blk.0.attn_q.bias": Tensor.of("blk.0.attn_q.bias", np.ones(2, np.float32))}
    with pytest.raises(ModelFileError, match=r"blk\.0\.attn_q\.bias"):
        Checkpoint.of_file("m.gguf", tensors, NAMES, SHAPES)


def fused(*rows: tuple[int, int]) -> dict[str, TensorSlice]:
    return {f"part{first}": TensorSlice("qkv", first, count) for first, count in rows}


def test_parts_may_be_rows_of_a_fused_tensor() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(6, 2)
    shapes = {"part3": (3, 2), "part0": (1, 2), "part1": (2, 2)}
    names = fused((3, 3), (0, 1), (1, 2))
    checkpoint = Checkpoint.of_file("m", {"qkv": Tensor.of("qkv", matrix)}, names, shapes)
    found = [expand_to_f32(checkpoint.parts[part]).tolist() for part in ("part0", "part1", "part3")]
    assert found == [matrix[:1].tolist(), matrix[1:3].tolist(), matrix[3:].tolist()]


def test_a_fused_vector_and_a_quantized_tensor_are_cut_too() -> None:
    bias = Tensor.of("qkv", np.arange(6, dtype=np.float32))
    names = fused((0, 4), (4, 2))
    parts = Checkpoint.of_file("m", {"qkv": bias}, names, {"part0": (4, 1), "part4": (2, 1)}).parts
    assert expand_to_f32(parts["part4"]).tolist() == [[4.0], [5.0]]
    data = np.arange(6 * 68, dtype=np.uint16).astype(np.uint8)
    blocks = Tensor("qkv", TensorFormat.Q8_0, 6, 64, data)
    parts = Checkpoint.of_file("m", {"qkv": blocks}, names, {"part0": (4, 64), "part4": (2, 64)}).parts
    assert parts["part4"].data.tolist() == data[4 * 68 :].tolist()


@pytest.mark.parametrize("rows", [[(0, 4)], [(0, 4), (4, 3)], [(0, 4), (3, 3)], [(0, 3), (4, 2)], [(-1, 7)]])
def test_rows_of_a_fused_tensor_must_all_have_one_part(rows: list[tuple[int, int]]) -> None:
    names = fused(*rows)
    tensors = {"qkv": Tensor.of("qkv", np.zeros((6, 2), np.float32))}
    with pytest.raises(ModelFileError, match=f"qkv has 6 rows of 2; expected {len(rows)} parts"):
        Checkpoint.of_file("m", tensors, names, dict.fromkeys(names, (1, 2)))


def test_long_lists_of_names_are_cut() -> None:
    names = NAMES | {f"layers.{i}.q": f"blk.{i}.attn_q.weight" for i in range(9)}
    with pytest.raises(ModelFileError, match=r"blk\.3\.attn_q\.weight and 5 more"):
        Checkpoint.of_file("m.gguf", file_tensors(), names, SHAPES)


def test_a_shape_that_does_not_fit_is_named() -> None:
    with pytest.raises(ModelFileError, match=r"token_embd\.weight has 4 rows of 2; expected 5 rows of 2"):
        Checkpoint.of_file("m.gguf", file_tensors(), NAMES, SHAPES | {"embedding": (5, 2)})


def test_arrays_make_a_checkpoint_without_a_file() -> None:
    bits = np.zeros((4, 2), np.uint16)
    checkpoint = Checkpoint.of_arrays(ARRAYS | {"embedding": bits}, SHAPES)
    assert checkpoint.parts["embedding"].format is TensorFormat.BF16
    assert checkpoint.parts["norm"].format is TensorFormat.F32
    with pytest.raises(ModelFileError, match="no tensor for norm"):
        Checkpoint.of_arrays({"embedding": bits}, SHAPES)


def test_the_fingerprint_changes_with_anything_that_decides_results() -> None:
    def fingerprint(arrays: dict[str, np.ndarray], context: list[bytes]) -> str:
        return Checkpoint.of_arrays(
            arrays, {k: (len(v), v.size // len(v)) for k, v in arrays.items()}
        ).fingerprint(context)

    base = fingerprint(ARRAYS, [b"1", b"template"])
    assert len(bytes.fromhex(base)) == 16
    assert base == fingerprint(dict(reversed(ARRAYS.items())), [b"1", b"template"])
    changed = ARRAYS["embedding"].copy()
    changed[3, 1] += 1
    others = {
        fingerprint(ARRAYS | {"embedding": changed}, [b"1", b"template"]),
        fingerprint(ARRAYS | {"embedding": ARRAYS["embedding"].reshape(2, 4)}, [b"1", b"template"]),
        fingerprint({"embeddings": ARRAYS["embedding"], "norm": ARRAYS["norm"]}, [b"1", b"template"]),
        fingerprint(ARRAYS, [b"2", b"template"]),
        fingerprint(ARRAYS, [b"1t", b"emplate"]),
    }
    assert base not in others
    assert len(others) == 5
