"""Mistakes in a YAML file are named by line and field; all of them at once."""

import pathlib
from collections.abc import Callable

import pytest

from octavo.core.errors import StartError
from octavo.fleet import located_yaml
from octavo.fleet.located_yaml import Fields, read_fields

Take = Callable[[Fields], object]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "values.yaml"


def taken(path: pathlib.Path, text: str, take: Take) -> object:
    path.write_text(text)
    fields, mistakes = read_fields(path)
    value = take(fields)
    fields.close()
    mistakes.raise_any()
    return value


@pytest.mark.parametrize(
    ("text", "take", "expected"),
    [
        ("a: word", lambda f: f.text("a"), "word"),
        ("", lambda f: f.text("a", "default"), "default"),
        ("a:", lambda f: f.text("a", "default"), "default"),
        ("a: [x, y]", lambda f: f.texts("a"), ("x", "y")),
        ("a: x", lambda f: f.texts("a"), ("x",)),
        ("a: yes", lambda f: f.flag("a", False), True),
        ("", lambda f: f.flag("a", True), True),
        ("a: 3", lambda f: f.whole("a", 1, 1, 3), 3),
        ("", lambda f: f.whole_or_none("a", 1, 3), None),
        ("a: 2Gi", lambda f: f.size("a"), 2 << 30),
        ("a: 512MiB", lambda f: f.size("a"), 512 << 20),
        ("a: 1024", lambda f: f.size("a"), 1024),
        ("a: 90", lambda f: f.seconds("a"), 90.0),
        ("a: 1.5h", lambda f: f.seconds("a"), 5400.0),
        ("a: 100ms", lambda f: f.seconds("a"), 0.1),
        ("a: {b: 1}", lambda f: f.fields("a").whole("b", 0, 0, 9), 1),
        ("", lambda f: f.fields("a").whole("b", 7, 0, 9), 7),
        ("a: [{b: 1}, {b: 2}]", lambda f: [g.whole("b", 0, 0, 9) for g in f.each("a")], [1, 2]),
        ("a: {nvidia.com/gpu: 4}", lambda f: f.fields("a").values(), {"nvidia.com/gpu": 4}),
        ("a: 2024-99-99", lambda f: f.text("a"), "2024-99-99"),
    ],
)  # fmt: skip
def test_a_field_is_read_as_its_kind(path: pathlib.Path, text: str, take: Take, expected: object) -> None:
    assert taken(path, text, take) == expected


@pytest.mark.parametrize(
    ("text", "take", "complaint"),
    [
        ("\na: 3", lambda f: f.text("a"), "line 2: a is '3'; allowed: a text."),
        ("a: z", lambda f: f.text("a", "", ("x", "y")), "line 1: a is 'z'; allowed: x, y."),
        ("a: !!bool x", lambda f: f.flag("a", False), "a is 'x'; allowed: true or false."),
        ("a: !!int ''", lambda f: f.whole("a", 1, 1, 3), "a is ''; allowed: a whole number from 1 to 3."),
        ("a: " + "9" * 400, lambda f: f.size("a"), "allowed: a size like 512MiB"),
        ("a: " + "9" * 400 + "h", lambda f: f.seconds("a"), "allowed: a time like 30s"),
        ("a: [x, 1]", lambda f: f.texts("a"), "a is a list; allowed: a text, or a list of texts."),
        ("a: 1", lambda f: f.flag("a", False), "a is '1'; allowed: true or false."),
        ("a: 4", lambda f: f.whole("a", 1, 1, 3), "a is '4'; allowed: a whole number from 1 to 3."),
        ("a: true", lambda f: f.whole("a", 1, 1, 3), "a is 'True'; allowed: a whole number"),
        ("a: 2 apples", lambda f: f.size("a"), "a is '2 apples'; allowed: a size like 512MiB"),
        ("a: 0", lambda f: f.size("a"), "a is '0'; allowed: a size"),
        ("a: soon", lambda f: f.seconds("a"), "a is 'soon'; allowed: a time like 30s"),
        ("a: 1", lambda f: f.fields("a"), "a must hold fields"),
        ("a: 1", lambda f: f.each("a"), "a must be a list"),
        ("a:\n- b: 1\n- 2", lambda f: [g.values() for g in f.each("a")], "line 3: a[1] must hold fields"),
        ("a: 1\nb:\n  cat: 1", lambda f: (f.whole("a", 0, 0, 9), f.fields("b").refuse("cat", "is no")),
         "line 3: b.cat is no."),
        ("a: 1\na: 2", lambda f: f.whole("a", 0, 0, 9), "line 2: a is given twice."),
        ("repliccas: 1", lambda f: f.whole("replicas", 0, 0, 9),
         "line 1: repliccas is not a field; did you mean replicas?"),
        ("zzz: 1", lambda f: f.whole("replicas", 0, 0, 9), "zzz is not a field; there are replicas."),
        ("a: &x [*x]", lambda f: f.text("a"), "a is a dict; allowed: a text."),
    ],
)  # fmt: skip
def test_a_mistake_is_named(path: pathlib.Path, text: str, take: Take, complaint: str) -> None:
    with pytest.raises(StartError) as error:
        taken(path, text, take)
    assert complaint in str(error.value) and "?." not in str(error.value)


def test_all_mistakes_are_named_in_order(path: pathlib.Path) -> None:
    with pytest.raises(StartError) as error:
        taken(path, "a: x\nb: y", lambda f: (f.whole("b", 0, 0, 1), f.whole("a", 0, 0, 1)))
    first, second = str(error.value).splitlines()
    assert "line 1: a is" in first and "line 2: b is" in second


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"a: [", "line 1: not valid YAML"),
        (b"- a", "line 1: must hold fields"),
        (b"\xff", "is not UTF-8"),
        (b"a: !!python/name:os.system x\n--- \nb: 1", "not valid YAML"),
        (b" " * 101, "is longer than 100 bytes"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(
    path: pathlib.Path, data: bytes | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(located_yaml, "MAX_FILE_BYTES", 100)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StartError, match=complaint):
        read_fields(path)
