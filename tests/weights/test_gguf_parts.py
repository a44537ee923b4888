"""Split GGUF files: opened as the model they are parts of, or refused with what is wrong."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.weights.gguf_parts import GGUFParts
from tests.weights.gguf_bytes import STRING, U16, U32, model_file, tiny_metadata, tiny_tensors, value
from tests.weights.split_bytes import split_keys, write_split

TENSORS = tiny_tensors()


@pytest.fixture
def parts(tmp_path: pathlib.Path) -> list[pathlib.Path]:
    return write_split(tmp_path, tiny_metadata(), TENSORS)


def write_part(path: pathlib.Path, number: int, count: int = 3, **metadata: bytes) -> None:
    """One in place of another: with all its tensors, or with those that `metadata` leaves it."""
    own = dict(list(TENSORS.items())[number::3])
    keys = {key.replace("__", "."): item for key, item in metadata.items()}
    path.write_bytes(model_file(split_keys(number, count, len(TENSORS)) | keys, own))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_part_opens_the_model(parts: list[pathlib.Path], number: int) -> None:
    with GGUFParts.open(parts[number]) as model:
        assert model.path == parts[0]
        assert model.metadata["general.name"] == "Tiny"
        assert model.tensors.keys() == TENSORS.keys()
        for name, tensor in model.tensors.items():
            assert tensor.data.tobytes() == TENSORS[name].tobytes()
            assert tensor.file is not None and tensor.file.path in parts


def test_a_part_may_have_no_tensor(tmp_path: pathlib.Path) -> None:
    paths = write_split(tmp_path, tiny_metadata(), TENSORS, 30)
    with GGUFParts.open(paths[29]) as model:
        assert model.tensors.keys() == TENSORS.keys()


@pytest.mark.parametrize("name", ["whole.gguf", "whole-00001-of-00001.gguf", "whole-1-of-3.gguf"])
def test_a_whole_file_is_a_model(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / name).write_bytes(model_file(tiny_metadata(), TENSORS))
    with GGUFParts.open(tmp_path / name) as model:
        assert model.tensors.keys() == TENSORS.keys()


def refusal(path: pathlib.Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        GGUFParts.open(path)
    return str(caught.value)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_named(parts: list[pathlib.Path], missing: int) -> None:
    parts[missing].unlink()
    for path in set(parts) - {parts[missing]}:
        assert f"is split over 3 files, of which {parts[missing].name} is missing" in refusal(path)


def another_count(parts: list[pathlib.Path]) -> None:
    write_part(parts[1], 1, count=4)


def another_number(parts: list[pathlib.Path]) -> None:
    parts[1].write_bytes(parts[2].read_bytes())


def no_number(parts: list[pathlib.Path]) -> None:
    parts[1].write_bytes(model_file({}, {}))


def number_as_text(parts: list[pathlib.Path]) -> None:
    write_part(parts[1], 1, split__no=value(STRING, "1"))


def tensors_twice(parts: list[pathlib.Path]) -> None:
    own = dict(list(TENSORS.items())[0::3])
    parts[1].write_bytes(model_file(split_keys(1, 3, len(TENSORS)), own))


def fewer_tensors(parts: list[pathlib.Path]) -> None:
    parts[2].write_bytes(model_file(split_keys(2, 3, len(TENSORS)), {}))


def another_total(parts: list[pathlib.Path]) -> None:
    write_part(parts[1], 1, split__tensors__count=value(U32, 7))


def another_model(parts: list[pathlib.Path]) -> None:
    write_part(parts[1], 1, general__name=value(STRING, "Huge"))


def cut_short(parts: list[pathlib.Path]) -> None:
    parts[1].write_bytes(parts[1].read_bytes()[:-40])


def swapped(parts: list[pathlib.Path]) -> None:
    first, second = (path.read_bytes() for path in parts[:2])
    parts[0].write_bytes(second)
    parts[1].write_bytes(first)


@pytest.mark.parametrize(
    ("damage", "culprit", "complaint"),
    [
        (another_count, 1, "split.count is 4; expected 3, as the file is named"),
        (another_number, 1, "split.no is 2; expected 1, as the file is named"),
        (no_number, 1, "split.no"),
        (number_as_text, 1, "split.no is '1'"),
        (tensors_twice, 1, "is in an earlier part as well"),
        (fewer_tensors, 0, "which all parts have together"),
        (another_total, 1, "is a part of another model than big-00001-of-00003.gguf: split.tensors.count"),
        (another_model, 1, "is a part of another model than big-00001-of-00003.gguf: general.name differs"),
        (cut_short, 1, "truncated or damaged"),
        (swapped, 0, "split.no is 1; expected 0"),
    ],
)
def test_parts_that_do_not_belong_together(
    parts: list[pathlib.Path],
    damage: Callable[[list[pathlib.Path]], None],
    culprit: int,
    complaint: str,
) -> None:
    damage(parts)
    text = refusal(parts[0])
    assert text.startswith(str(parts[culprit]))
    assert complaint in text


def test_a_part_under_another_name(parts: list[pathlib.Path]) -> None:
    renamed = parts[0].rename(parts[0].with_name("big.gguf"))
    assert "one of 3 parts of a model, which are found by their names, NAME-00001-of-00003.gguf" in refusal(
        renamed
    )


def test_a_count_that_nothing_could_be(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "big-00001-of-99999.gguf"
    path.write_bytes(model_file({"split.count": value(U16, 65535)} | tiny_metadata(), TENSORS))
    assert "big-00002-of-99999.gguf is missing" in refusal(path)


def test_tensors_are_views(parts: list[pathlib.Path]) -> None:
    model = GGUFParts.open(parts[0])
    tensor = model.tensors["output_norm.weight"]
    model.close()
    assert np.array_equal(tensor.data.view(np.float32).ravel(), TENSORS["output_norm.weight"])
