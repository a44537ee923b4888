import numpy as np
import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata

METADATA = ModelMetadata(
    "m.gguf",
    {
        "one": 1,
        "zero": 0,
        "half": 0.5,
        "word": "w",
        "yes": True,
        "words": ["a", "b"],
        "ids": np.array([1, 2], np.int32),
        "floats": np.array([0.5], np.float32),
    },
)


def test_values_are_read_by_type() -> None:
    assert METADATA.integer("zero") == 0
    assert METADATA.positive("one") == 1
    assert METADATA.number("half") == 0.5
    assert METADATA.number("one") == 1.0
    assert METADATA.text("word") == "w"
    assert METADATA.flag("yes") is True
    assert METADATA.strings("words") == ["a", "b"]
    assert METADATA.integers("ids") == [1, 2]
    assert METADATA.numbers("floats") == [0.5]
    assert METADATA.token_id("one", 2, None) == 1
    assert METADATA.length("words") == 2


def test_a_known_length_needs_no_reading() -> None:
    assert ModelMetadata("m.gguf", {}, {"words": 3}).length("words") == 3
    for key in ("words", "one"):
        with pytest.raises(ModelFileError, match=key):
            ModelMetadata("m.gguf", {"one": 1}).length(key)


def test_a_default_stands_in_for_a_missing_key_only() -> None:
    assert METADATA.integer("none", 7) == 7
    assert METADATA.integer("zero", 7) == 0
    assert METADATA.integers("none", [3]) == [3]
    assert METADATA.token_id("none", 8, 7) == 7
    assert METADATA.token_id("none", 7, 7) is None
    with pytest.raises(ModelFileError, match=r"m\.gguf: metadata key none is missing"):
        METADATA.integer("none")


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (METADATA.integer, "half"),
        (METADATA.integer, "yes"),
        (METADATA.positive, "zero"),
        (METADATA.number, "word"),
        (METADATA.number, "yes"),
        (METADATA.text, "one"),
        (METADATA.flag, "one"),
        (METADATA.strings, "ids"),
        (METADATA.strings, "word"),
        (METADATA.integers, "floats"),
        (METADATA.integers, "words"),
    ],
)
def test_another_type_is_refused_by_key(read, key: str) -> None:
    with pytest.raises(ModelFileError, match=f"m.gguf: metadata key {key} is .*; expected "):
        read(key)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, -(10**400)])
def test_numbers_are_finite(value: float) -> None:
    with pytest.raises(ModelFileError, match=r"key n is .*; expected a number up to 1e\+30"):
        ModelMetadata("m.gguf", {"n": value}).number("n")


def test_integers_have_64_bits() -> None:
    assert ModelMetadata("m.gguf", {"n": 2**64 - 1}).integer("n") == 2**64 - 1
    with pytest.raises(ModelFileError, match="0 or more, in 64 bits"):
        ModelMetadata("m.gguf", {"n": 10**400}).integer("n")


def test_long_values_are_cut_in_the_error() -> None:
    metadata = ModelMetadata("m.gguf", {"long": "x" * 1000})
    with pytest.raises(ModelFileError) as caught:
        metadata.integer("long")
    assert len(str(caught.value)) < 120
