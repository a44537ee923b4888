"""Neighbours go together; nothing is lost or put in another order."""

from octavo.text.deltas import ArgumentsDelta, CallDelta, ReasoningDelta, TextDelta, merged


def test_neighbours_that_go_on_are_one() -> None:
    deltas = [
        *(ReasoningDelta("a"), ReasoningDelta("b"), TextDelta("c"), TextDelta("")),
        *(CallDelta(0, "f"), CallDelta(1, "f"), ArgumentsDelta(1, "{"), ArgumentsDelta(1, "}")),
        *(ArgumentsDelta(2, ""), TextDelta("d")),
    ]
    assert merged(deltas) == [
        *(ReasoningDelta("ab"), TextDelta("c"), CallDelta(0, "f"), CallDelta(1, "f")),
        *(ArgumentsDelta(1, "{}"), TextDelta("d")),
    ]
