from hypothesis import given
from hypothesis import strategies as st

from octavo.text.detokenizer import Detokenizer
from octavo.text.text_stream import TextStream
from tests.text import tiny_sentencepiece
from tests.text.tiny_text import TOKENS, chunks, ids_of, tokenizer, vocabulary

VOCABULARY = vocabulary()
TOKENIZER = tokenizer()
CONTENT = st.lists(
    st.sampled_from(ids_of("h", "e", "l", "he", "ll", "hello", "Ġhello", "<|im_end|>", "æ", "Ĺ", "¥"))
)
STOPS = st.lists(st.sampled_from(["h", "lo", "hell", "ohe", "日", "\ufffd", "l\ufffd"]), max_size=3)


def stream(stop: list[str], min_tokens: int = 0) -> TextStream:
    return TextStream(Detokenizer(VOCABULARY), stop, min_tokens=min_tokens)


def whole(ids: list[int], stop: list[str], min_tokens: int) -> tuple[str, int, str | None]:
    """Text, tokens used, stop string: by looking at the text of every prefix of the tokens."""
    for count in range(1, len(ids) + 1):
        before = prefix_text(ids[: count - 1])
        text = prefix_text(ids[:count])
        for end in range(len(before) + 1, len(text) + 1):
            found = [item for item in stop if text[:end].endswith(item)]
            if found and count >= min_tokens:
                longest = max(found, key=len)
                return text[: end - len(longest)], count, longest
    final = TOKENIZER.decode(ids)
    rest = prefix_text(ids)
    for end in range(len(rest) + 1, len(final) + 1):
        found = [item for item in stop if final[:end].endswith(item)]
        if found and len(ids) >= min_tokens:
            longest = max(found, key=len)
            return final[: end - len(longest)], len(ids), longest
    return final, len(ids), None


def prefix_text(ids: list[int]) -> str:
    return Detokenizer(VOCABULARY).push(ids)


@given(CONTENT, STOPS, st.integers(0, 12), st.lists(st.integers(0, 20)))
def test_what_is_sent_is_a_function_of_the_tokens(
    ids: list[int], stop: list[str], min_tokens: int, cuts: list[int]
) -> None:
    chunked = stream(stop, min_tokens)
    sent = "".join(chunked.push(chunk) for chunk in chunks(ids, cuts)) + chunked.finish()
    assert (sent, chunked.num_tokens, chunked.stop_string) == whole(ids, stop, min_tokens)


def test_it_stops_at_the_token_that_completes_the_string() -> None:
    text = stream(["lo"])
    assert text.push(ids_of("he", "l")) == "he"
    assert text.push(ids_of("l", "o", "he")) == "l"
    assert (text.is_stopped, text.stop_string, text.num_tokens) == (True, "lo", 4)
    assert text.push(ids_of("he")) == ""
    assert text.num_tokens == 4
    assert text.finish() == ""


def test_min_tokens_lets_early_stop_strings_through() -> None:
    text = stream(["he"], min_tokens=3)
    assert text.push(ids_of("he", "he", "l")) == "hehel"
    assert not text.is_stopped
    assert text.push(ids_of("he")) == ""
    assert text.is_stopped
    assert stream(["he"], min_tokens=1).push(ids_of("he")) == ""


def test_a_stop_string_may_begin_before_min_tokens_and_end_after() -> None:
    text = stream(["hel"], min_tokens=2)
    assert text.push(ids_of("he")) == ""
    assert text.push(ids_of("l")) == ""
    assert text.is_stopped


def test_finish_gives_what_was_held_back() -> None:
    text = stream(["hellos"])
    assert text.push(ids_of("Ġhello", "æ")) == " "
    assert text.finish() == "hello\ufffd"


def test_all_tokens_count_without_stop_strings() -> None:
    text = stream([])
    assert text.push(range(len(TOKENS) - 3, len(TOKENS))) == " hello\n\n<|"
    assert (text.num_tokens, text.is_stopped) == (3, False)


BYTE_FALLBACK = tiny_sentencepiece.vocabulary()
BYTES = [tiny_sentencepiece.TOKENS.index(name) for name in ("<0xE6>", "<0x97>", "<0xA5>", "<0x0A>", "<0x6C>")]
SENTENCEPIECE_CONTENT = st.lists(
    st.sampled_from([*BYTES, *tiny_sentencepiece.ids_of("▁hello", "▁", "lo", "日", "</s>", "<think>", "  ")])
)


@given(SENTENCEPIECE_CONTENT, STOPS, st.lists(st.integers(0, 20)))
def test_bytes_that_stand_in_for_characters_stream_alike(
    ids: list[int], stop: list[str], cuts: list[int]
) -> None:
    """A character, and a stop string, may be spread over several byte tokens."""

    def received(pieces: list[list[int]]) -> tuple[str, int, str | None]:
        text = TextStream(Detokenizer(BYTE_FALLBACK), stop)
        sent = "".join([text.push(piece) for piece in pieces]) + text.finish()
        return sent, text.num_tokens, text.stop_string

    one_by_one, at_once = received([[token_id] for token_id in ids]), received([ids])
    assert received(chunks(ids, cuts)) == one_by_one == at_once
    if not stop:
        spelled = [BYTE_FALLBACK.token_bytes[i] for i in ids if i not in BYTE_FALLBACK.control_ids]
        assert at_once[0] == b"".join(spelled).decode(errors="replace")


@given(CONTENT, STOPS, st.integers(0, 12), st.lists(st.integers(0, 20)))
def test_a_token_settles_when_its_text_is_out(
    ids: list[int], stop: list[str], min_tokens: int, cuts: list[int]
) -> None:
    tracked = stream(stop, min_tokens)
    tracked.track_tokens()
    sent, begins = "", []
    for chunk in chunks(ids, cuts):
        sent += tracked.push(chunk)
        begins += tracked.take_settled()
        if not tracked.is_stopped:
            assert sent.startswith(prefix_text(ids[: len(begins)]))
    sent += tracked.finish()
    begins += tracked.take_settled()
    assert (sent, tracked.num_tokens, tracked.stop_string) == whole(ids, stop, min_tokens)
    assert len(begins) == tracked.num_tokens
    assert begins == [min(len(prefix_text(ids[:count])), len(sent)) for count in range(len(begins))]


def test_without_tracking_nothing_settles() -> None:
    text = stream([])
    text.push(ids_of("he"))
    assert text.take_settled() == []
