from hypothesis import given
from hypothesis import strategies as st

from octavo.text.stop import StopMatcher
from tests.text.tiny_text import chunks

LETTERS = "ab"  # few, so that overlaps are common
texts = st.text(LETTERS, max_size=30)
stops = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4)


def naive(text: str, stop: list[str]) -> tuple[str, str | None]:
    """The text before the first stop string to be complete, the longest of several."""
    for end in range(1, len(text) + 1):
        found = [item for item in stop if text[:end].endswith(item)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


def test_a_possible_beginning_is_held_back_and_no_more() -> None:
    matcher = StopMatcher(["\nUser:"])
    assert matcher.push("Hi\n") == "Hi"
    assert matcher.push("Us") == ""
    assert matcher.push("e\nUs") == "\nUse"
    assert matcher.push("er: more") == ""
    assert matcher.matched == "\nUser:"
    assert matcher.push("and more") == ""
    assert matcher.flush() == ""


def test_the_first_to_be_complete_wins_then_the_longest() -> None:
    matcher = StopMatcher(["bcd", "c", "abc"])
    assert matcher.push("xabcd") == "x"
    assert matcher.matched == "abc"


def test_what_is_held_back_comes_out_at_the_end() -> None:
    matcher = StopMatcher(["stop"])
    assert matcher.push("sto") == ""
    assert matcher.flush() == "sto"
    assert matcher.flush() == ""


def test_a_match_can_be_let_through() -> None:
    matcher = StopMatcher(["ab", "abc"])
    assert matcher.push("xab", can_match=False) + matcher.push("d") == "xabd"
    assert matcher.push("ab") == ""
    assert matcher.matched == "ab"


def test_without_stop_strings_all_passes() -> None:
    matcher = StopMatcher([])
    assert matcher.push("anything") == "anything"
    assert matcher.flush() == ""


@given(texts, stops, st.lists(st.integers(0, 30)))
def test_any_chunking_gives_the_text_before_the_stop_string(
    text: str, stop: list[str], cuts: list[int]
) -> None:
    before, matched = naive(text, stop)
    for is_kept in (False, True):
        matcher = StopMatcher(stop, is_kept=is_kept)
        sent = "".join(matcher.push(chunk) for chunk in chunks(text, cuts)) + matcher.flush()
        assert (sent, matcher.matched) == (before + (matched or "" if is_kept else ""), matched)


@given(texts, stops)
def test_nothing_is_held_back_that_cannot_become_a_stop_string(text: str, stop: list[str]) -> None:
    matcher = StopMatcher(stop)
    sent = matcher.push(text)
    if matcher.matched is None:
        held = text[len(sent) :]
        beginnings = [
            text[-n:] for n in range(1, len(text) + 1) if any(s.startswith(text[-n:]) for s in stop)
        ]
        assert held == max(beginnings, key=len, default="")
