"""A model answers to its names and to `default`, and to nothing else."""

import pytest

from octavo.core.errors import ModelNotFoundError
from octavo.server.served_model import ServedModel


def test_default_always_names_the_model() -> None:
    model = ServedModel(("a", "b"), 0, 10)
    assert model.all_names == ("a", "b", "default")
    for name in model.all_names:
        model.check(name)


def test_a_name_is_listed_once() -> None:
    assert ServedModel(("default", "a", "a"), 0, 10).all_names == ("default", "a")


def test_other_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(ModelNotFoundError, match=r"^There is no model 'c' here. Served: a, default.$"):
        ServedModel(("a",), 0, 10).check("c")
