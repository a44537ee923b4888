import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.weights.checkpoint import Checkpoint
from octavo.weights.formats import Tensor, TensorFormat

SHAPES = {"embedding": (4, 2), "norm": (2, 1)}
ARRAYS = {"embedding": np.arange(8, dtype=np.float32).reshape(4, 2), "norm": np.ones(2, np.float32)}
NAMES = {"embedding": "token_embd.weight", "norm": "output_norm.weight"}


def file_tensors() -> dict[str, Tensor]:
    return {NAMES[part]: Tensor.of(NAMES[part], array) for part, array in ARRAYS.items()}


def test_parts_are_found_under_the_names_of_the_file() -> None:
    checkpoint = Checkpoint.of_file("m.gguf", file_tensors(), NAMES, SHAPES)
    assert [tensor.name for tensor in checkpoint.parts.values()] == list(NAMES.values())
    assert checkpoint.num_bytes == 40


def test_missing_tensors_are_named() -> None:
    tensors = file_tensors()
    del tensors["output_norm.weight"]
    with pytest.raises(ModelFileError, match=r"m\.gguf: tensors are missing: output_norm\.weight"):
        Checkpoint.of_file("m.gguf", tensors, NAMES, SHAPES)


def test_a_tensor_nobody_would_compute_with_is_refused() -> None:
    tensors = file_tensors() | {"blk.0.attn_q.bias": Tensor.of("blk.0.attn_q.bias", np.ones(2, np.float32))}
    with pytest.raises(ModelFileError, match=r"blk\.0\.attn_q\.bias"):
        Checkpoint.of_file("m.gguf", tensors, NAMES, SHAPES)


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
