"""A token settles when the last character it is part of is out."""

from octavo.text.token_spans import TokenSpans


def test_tokens_settle_in_order_as_their_text_is_sent() -> None:
    spans = TokenSpans()
    for count in (2, 0, 3):
        spans.add(count, is_incomplete=False)
    assert spans.take(1) == []
    assert spans.take(4) == [0, 2]
    assert spans.take(4) == []
    assert spans.take(5) == [2]


def test_a_piece_of_a_character_waits_for_the_character() -> None:
    spans = TokenSpans()
    spans.add(1, is_incomplete=True)
    assert spans.take(1) == []
    spans.add(1, is_incomplete=False)
    assert spans.take(2) == [0, 1]


def test_the_rest_settles_where_the_text_ends() -> None:
    spans = TokenSpans()
    for _ in range(3):
        spans.add(2, is_incomplete=False)
    assert spans.take_rest(3) == [0, 2, 3]
    assert spans.take_rest(3) == []
