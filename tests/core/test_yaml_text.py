import pytest

from octavo.core.yaml_text import YamlError, load_yaml


def test_a_document() -> None:
    assert load_yaml("a: [1, b]") == {"a": [1, "b"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("a:\n- [", "is not a list of friends in line 2"),
        ("\0", "is not a list of friends"),
        ("[" * 100_000, "is not a list of friends"),
        ("a: 2026-13-45", "has a value that YAML cannot read: month must be in 1..12"),
        ("a: !!int ''", "has a value that YAML cannot read"),
        ("a: !!bool x", "has a value that YAML cannot read"),
        ("a: !!timestamp x", "has a value that YAML cannot read"),
    ),
)
def test_whatever_is_wrong_is_said(text: str, expected: str) -> None:
    with pytest.raises(YamlError, match=expected):
        load_yaml(text, "a list of friends")
