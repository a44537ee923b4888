import pytest

from octavo.core.drafting import FORECAST_TOKENS, Drafting


class Counting:
    """The next token is one more."""

    def propose(self, token_ids: list[int], most: int) -> list[int]:
        return [token_ids[-1] + 1 + i for i in range(most)]


class Silent:
    def propose(self, token_ids: list[int], most: int) -> list[int]:
        return []


def test_what_was_right_is_likely_and_what_was_wrong_is_not() -> None:
    drafting = Drafting(Counting())
    assert drafting.chance == 0.5
    drafting.learn(4, 4)
    assert drafting.chance > 0.8
    for _ in range(10):
        drafting.learn(4, 0)
    assert drafting.chance < 0.25
    for _ in range(10):
        drafting.learn(4, 3)
    assert drafting.chance == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(("num_right", "chance"), [(0, 0.3), (4, 0.7), (FORECAST_TOKENS, 0.94)])
def test_a_forecast_is_looked_back_on_when_it_is_over(num_right: int, chance: float) -> None:
    drafting = Drafting(Counting())
    tokens = [1, 2, 3]
    drafting.look_back(tokens)
    right = [4 + i for i in range(num_right)]
    tokens += right + [0] * (FORECAST_TOKENS - num_right)
    drafting.look_back(tokens[:-1])
    assert drafting.chance == 0.5
    drafting.look_back(tokens)
    assert drafting.chance == pytest.approx(chance, abs=0.03)


def test_who_has_nothing_to_say_is_asked_again_later_and_not_judged() -> None:
    drafting = Drafting(Silent())
    drafting.look_back([1, 2, 3])
    drafting.drafter = Counting()
    drafting.look_back([1] * (2 + FORECAST_TOKENS))
    assert drafting.forecast == []
    drafting.look_back([1] * (3 + FORECAST_TOKENS))
    assert len(drafting.forecast) == FORECAST_TOKENS
    assert drafting.chance == 0.5
