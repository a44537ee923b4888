import io

import pytest

from octavo.cli.wrap import WordWrap


def wrapped(text: str, width: int | None, piece: int = 3) -> str:
    out = io.StringIO()
    writer = WordWrap(out, width)
    for at in range(0, len(text), piece):
        writer.write(text[at : at + piece])
    writer.finish()
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("one\n  two\n\nthree", ["one", "  two", "", "three"]),
        (
            "abcdefghijkl q",
            ["abcdefghijkl q"],
        ),  # no word is cut by us; the terminal cuts the long one
        ("日本 日本", ["日本", "日本"]),
        ("", [""]),
        ("one    two   x", ["one", "two   x"]),
        ("a " * 5, ["a a a a", "a"]),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_lines_end_between_words(text: str, lines: list[str], piece: int) -> None:
    assert wrapped(text, 9, piece).split("\n") == [*lines, ""]


def test_what_has_no_edge_is_not_touched() -> None:
    text = "one  two three \n"
    assert wrapped(text, None) == text + "\n"


def test_a_file_has_no_edge() -> None:
    out = io.StringIO()
    WordWrap(out).write("word " * 100)
    assert "\n" not in out.getvalue()


def test_a_long_word_is_not_held_back() -> None:
    out = io.StringIO()
    WordWrap(out, 9).write("日本語日本語")
    assert out.getvalue() == "日本語日本語"
