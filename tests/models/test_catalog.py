"""The table of named models: what must hold of every entry."""

import pathlib

import pytest

from octavo.models.catalog import CATALOG, SMOLLM2, NamedModel, find


@pytest.mark.parametrize("name", ["", "default", "smollm2-135m-instruct", "SmolLM2-135M-Instruct"])
def test_the_built_in_has_names(name: str) -> None:
    assert find(name) is SMOLLM2


def test_what_has_no_such_name_is_not_found() -> None:
    assert find("gemma3") is None


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.name)
def test_every_part_is_pinned(model: NamedModel) -> None:
    assert model.name == model.name.lower()
    assert len(model.sha256) == 64
    assert all("==" in part.requirement and part.num_bytes > 0 for part in model.parts)
    assert len({part.requirement for part in model.parts}) == len(model.parts)


def test_names_and_files_are_of_one_model_each() -> None:
    assert (
        len({model.name for model in CATALOG}) == len({model.file_name for model in CATALOG}) == len(CATALOG)
    )


def test_a_file_of_another_length_is_not_the_model(tmp_path: pathlib.Path) -> None:
    path = SMOLLM2.path(tmp_path)
    assert not SMOLLM2.is_present(tmp_path)
    path.parent.mkdir()
    for num_bytes, is_present in ((SMOLLM2.num_bytes, True), (SMOLLM2.num_bytes - 1, False)):
        with path.open("wb") as file:
            file.truncate(num_bytes)  # sparse
        assert SMOLLM2.is_present(tmp_path) is is_present
