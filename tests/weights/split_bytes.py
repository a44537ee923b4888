"""Writes a model as gguf-split does: the first part has the metadata, each part some of the tensors."""

import pathlib
from collections.abc import Mapping

import numpy as np

from octavo.core.split_name import SplitName
from tests.weights.gguf_bytes import I32, U16, model_file, value


def write_split(
    folder: pathlib.Path,
    metadata: Mapping[str, bytes],
    tensors: Mapping[str, np.ndarray],
    count: int = 3,
    *,
    stem: str = "big",
) -> list[pathlib.Path]:
    """The parts, of tensors in turn."""
    parts = SplitName(stem, count, 1).parts
    paths = [folder / str(part) for part in parts]
    for number, path in enumerate(paths):
        own = dict(list(tensors.items())[number::count])
        head = split_keys(number, count, len(tensors)) | (metadata if number == 0 else {})
        path.write_bytes(model_file(head, own))
    return paths


def split_keys(number: int, count: int, num_tensors: int) -> dict[str, bytes]:
    return {
        "split.no": value(U16, number),
        "split.count": value(U16, count),
        "split.tensors.count": value(I32, num_tensors),
    }
