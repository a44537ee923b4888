"""Which keys open the API: those of the flag, and those of a file as it is now."""

import logging
import os
import pathlib

import pytest
from starlette.datastructures import Headers

from octavo.core.errors import StartError
from octavo.http.api_keys import ApiKey
from octavo.http.key_ring import MAX_FILE_BYTES, KeyFile, KeyRing, key_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def write(path: pathlib.Path, *ids: str) -> None:
    """A key file with the keys key-ID."""
    path.write_text("".join(f"{ApiKey.of(f'key-{id}', id).line}\n" for id in ids))


def owner(ring: KeyRing, key: str) -> str | None:
    found = ring.owner(Headers({"authorization": f"Bearer {key}"}))
    return None if found is None else found.id


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "keys.txt"
    write(path, "a", "b")
    return path


@pytest.mark.parametrize(
    ("headers", "key"),
    (
        ({}, b""),
        ({"authorization": "Bearer  k "}, b"k"),
        ({"authorization": "bearer k"}, b"k"),
        ({"authorization": "Basic k"}, b""),
        ({"api-key": " k "}, b"k"),
        ({"x-api-key": " k "}, b"k"),
        ({"authorization": "Bearer k", "api-key": "other", "x-api-key": "third"}, b"k"),
        ({"authorization": "Basic x", "api-key": "k", "x-api-key": "other"}, b"k"),
        ({"authorization": "Bearer é\x00\xa0"}, b"\xe9\x00\xa0"),
    ),
)
def test_a_key_stands_in_one_of_three_headers(headers: dict[str, str], key: bytes) -> None:
    assert key_of(Headers(headers)) == key


def test_without_any_key_the_api_is_open() -> None:
    assert KeyRing.of(None, None).is_open
    assert not KeyRing.of("k", None).is_open


def test_the_keys_of_flag_and_file_all_open(path: pathlib.Path) -> None:
    ring = KeyRing.of("mine", path)
    assert not ring.is_open
    assert [owner(ring, key) for key in ("key-a", "key-b", "mine", "key-c", "")] == [
        *("a", "b", "default", None, None)
    ]


def test_a_changed_file_is_read_again_and_not_before_its_time(path: pathlib.Path) -> None:
    clock = Clock()
    ring = KeyRing(None, KeyFile(path, check_seconds=1.0, clock=clock))
    write(path, "b", "c", "d")
    assert owner(ring, "key-a") == "a"
    clock.now = 1.0
    assert [owner(ring, f"key-{id}") for id in "abcd"] == [None, "b", "c", "d"]


def test_a_file_that_is_replaced_by_another_is_read_again(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    clock = Clock()
    ring = KeyRing(None, KeyFile(path, clock=clock))
    other = tmp_path / "other"
    write(other, "c", "d")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    clock.now = 1.0
    assert owner(ring, "key-c") == "c"


@pytest.mark.parametrize("edit", ("gone", "faulty", "empty", "binary", "long"))
def test_a_bad_edit_keeps_the_keys_and_says_so_once(
    path: pathlib.Path, edit: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    ring = KeyRing(None, KeyFile(path, clock=clock))
    if edit == "gone":
        path.unlink()
    else:
        contents = {
            "faulty": b"nonsense",
            "empty": b"# nothing",
            "binary": b"\xff",
            "long": b"#" * (MAX_FILE_BYTES + 1),
        }
        path.write_bytes(contents[edit])
    for clock.now in (1.0, 2.0, 3.0):
        assert owner(ring, "key-a") == "a"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("The keys it had before stay.")
    write(path, "c")
    clock.now = 4.0
    assert (owner(ring, "key-a"), owner(ring, "key-c")) == (None, "c")


@pytest.mark.parametrize("text", (None, "", "a b c"))
def test_a_server_does_not_start_with_a_bad_file(tmp_path: pathlib.Path, text: str | None) -> None:
    path = tmp_path / "keys.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StartError, match=rf"--api-key-file {path}: "):
        KeyRing.of("k", path)
