"""What a request guesses of its own future: tokens that a step computes before it is known whether they come.

A token sampled at a position is a function of what comes before it. So guesses, drafts, change no answer: a
step computes them as if they were known, samples after each, and keeps those that were sampled indeed.
"""

import dataclasses
from typing import Protocol

FADING = 0.9  # of what was learned of a drafter, with each time it is seen right or wrong
FORECAST_TOKENS = 16  # what a drafter says of so many tokens shows, later, whether to ask it


class Drafter(Protocol):
    """Guesses for one request, which grows from call to call."""

    def propose(self, token_ids: list[int], most: int) -> list[int]:
        """At most so many tokens that may follow token_ids, the next one first."""
        ...


@dataclasses.dataclass(slots=True)
class Drafting:
    """A request's drafter, and how often it was right of late. It begins with one of each."""

    drafter: Drafter
    num_right: float = 1.0
    num_wrong: float = 1.0
    forecast: list[int] = dataclasses.field(default_factory=list)
    forecast_at: int = 0  # the request's length when it was made

    @property
    def chance(self) -> float:
        """That a draft is right, if those before it are."""
        return self.num_right / (self.num_right + self.num_wrong)

    def learn(self, num_drafts: int, num_right: int) -> None:
        """Of so many drafts in a row so many were right, up to the first that was not."""
        self.num_right = FADING * self.num_right + num_right
        self.num_wrong = FADING * self.num_wrong + (num_right < num_drafts)

    def look_back(self, token_ids: list[int]) -> None:
        """Learn, now and then, without computing: from what the drafter forecast some time ago."""
        if len(token_ids) < self.forecast_at + len(self.forecast):
            return
        if self.forecast:
            came = token_ids[self.forecast_at :]
            num_right = next(
                (i for i, pair in enumerate(zip(self.forecast, came, strict=False)) if pair[0] != pair[1]),
                len(self.forecast),
            )
            self.learn(len(self.forecast), num_right)
        self.forecast = self.drafter.propose(token_ids, FORECAST_TOKENS)
        self.forecast_at = len(token_ids) if self.forecast else len(token_ids) + FORECAST_TOKENS
