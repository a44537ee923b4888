import dataclasses
import pathlib

import octavo.backends.cpu
from octavo.models.ops import ATTRS_OF_KIND, KIND_OF_ATTRS, MAX_ATTRIBUTE_BYTES, OpKind, c_header


def test_the_committed_header_is_the_generated_one() -> None:
    header = pathlib.Path(octavo.backends.cpu.__file__).parent / "csrc" / "ops.h"
    assert header.read_text() == c_header()


def test_every_kind_has_attributes_that_fit() -> None:
    assert set(ATTRS_OF_KIND) == set(OpKind)
    assert all(KIND_OF_ATTRS[attrs] is kind for kind, attrs in ATTRS_OF_KIND.items())
    for attrs in ATTRS_OF_KIND.values():
        assert 8 * len(dataclasses.fields(attrs)) <= MAX_ATTRIBUTE_BYTES
        assert all(field.type in (int, float) for field in dataclasses.fields(attrs))
