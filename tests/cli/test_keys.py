"""`octavo keys add`: what it prints opens, what it writes is read, and a key stands nowhere in the file."""

import io
import pathlib
from collections.abc import Callable

import pytest

from octavo.cli.main import main
from octavo.http.api_keys import KeyLimits, find_key, parse_keys


def add(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["keys", "add", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_keys_are_appended_and_printed_once(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "keys.txt"
    limits = ("--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrency", "2")
    (first,) = add(capsys, "a", "--file", str(path), *limits)
    path.write_text(path.read_text().rstrip("\n") + "  # no line's end")
    (second,) = add(capsys, "b", "--file", str(path))
    (third,) = add(capsys, "a", "--file", str(path))
    keys = parse_keys(path.read_text())
    assert [key.id for key in keys] == ["a", "b", "a"]
    assert keys[0].limits == keys[2].limits == KeyLimits(60, 1000, 2)
    assert len({key.salt for key in keys}) == 1
    assert [find_key(keys, key.encode()) for key in (first, second, third)] == list(keys)
    assert not any(key in path.read_text() for key in (first, second, third))
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_a_file_the_line_is_printed_before_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    line, key = add(capsys, "a")
    assert find_key(parse_keys(line), key.encode()) is not None


def test_a_key_that_exists_is_taken_from_the_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("an-old-key-of-25-letters\n"))
    (line,) = add(capsys, "a", "--from-stdin")
    assert find_key(parse_keys(line), b"an-old-key-of-25-letters") is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    (
        (("a b",), "'a b' is no name for a key"),
        (("a", "--concurrency", "0"), "--concurrency is 0; allowed: 1 or more."),
        (("a", "--file", "/no/such/folder/keys"), "/no/such/folder/keys: No such file or directory."),
        (("a", "--from-stdin"), "A key has at least 20 characters; this one has 5."),
    ),
)
def test_what_is_wrong_is_one_sentence(
    complaint: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert expected in complaint("add", *arguments, command="keys")


@pytest.mark.parametrize("text", (b"nonsense\n", b"\xff"))
def test_a_faulty_file_stays_as_it_is(
    complaint: Callable[..., str], tmp_path: pathlib.Path, text: bytes
) -> None:
    path = tmp_path / "keys.txt"
    path.write_bytes(text)
    assert str(path) in complaint("add", "a", "--file", str(path), command="keys")
    assert path.read_bytes() == text
