"""Of the choices generated for a prompt the likeliest are answered."""

from typing import Any, cast

from octavo.server.generation import Generation
from octavo.server.ranking import best


class Candidate:
    def __init__(self, name: str, mean_logprob: float, *, shares_prompt: bool = True) -> None:
        self.name, self.mean_logprob, self.shares_prompt = name, mean_logprob, shares_prompt


CANDIDATES = [
    Candidate("a", -3.0, shares_prompt=False),
    Candidate("b", -1.0),
    Candidate("c", -2.0),
    Candidate("d", -2.0, shares_prompt=False),
    Candidate("e", -2.0),
    Candidate("f", -1.5),
]


def names(num_shown: int) -> str:
    return "".join(found.name for found in cast(Any, best(cast("list[Generation]", CANDIDATES), num_shown)))


def test_the_likeliest_of_each_prompt_come_first() -> None:
    assert [names(count) for count in (1, 2)] == ["bf", "bcfd"]


def test_if_all_are_shown_their_order_stays() -> None:
    assert names(3) == "abcdef"
