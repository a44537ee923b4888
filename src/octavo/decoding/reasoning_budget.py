"""Holds reasoning to a budget: when it is spent, the closing tag is all that may come.

A function of the tokens alone, so a preemption, a crash or another replica leaves it as it was. Runs in the
engine process.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from octavo.core.grammar_spec import ReasoningBudget
from octavo.core.token_constraint import TokenConstraint
from octavo.text.reasoning import ReasoningTags
from octavo.text.reasoning_meter import ReasoningMeter

_ALL = np.uint32(0xFFFFFFFF)


class Unconstrained:
    """A TokenConstraint that allows every token."""

    is_finished = False
    failure = None

    def fill_mask(self, mask: NDArray[np.uint32]) -> None:
        mask[:] = _ALL

    def advance(self, token_ids: Sequence[int]) -> None:
        pass


class BudgetedReasoning:
    """A TokenConstraint around another one, whose word counts until the budget is spent, and afterwards."""

    def __init__(
        self, budget: ReasoningBudget, token_bytes: Sequence[bytes], constraint: TokenConstraint
    ) -> None:
        """token_bytes: of the vocabulary, by id."""
        tags = ReasoningTags(budget.opening, budget.closing)
        self._meter = ReasoningMeter(tags, token_bytes, is_open=budget.is_open)
        self._max_tokens = budget.max_tokens
        self._closing_ids = budget.closing_ids
        self._num_forced = 0
        self.constraint = constraint

    @property
    def forced_id(self) -> int | None:
        """The only token that may come next."""
        meter = self._meter
        if not meter.is_reasoning or meter.num_tokens < self._max_tokens or meter.is_within_character:
            return None
        return self._closing_ids[self._num_forced % len(self._closing_ids)]

    def fill_mask(self, mask: NDArray[np.uint32]) -> None:
        token_id = self.forced_id
        if token_id is None:
            self.constraint.fill_mask(mask)
        else:
            mask[token_id // 32] |= np.uint32(1 << token_id % 32)

    def advance(self, token_ids: Sequence[int]) -> None:
        for token_id in token_ids:
            self._num_forced += self.forced_id is not None
            self._meter.push((token_id,))
        self.constraint.advance(token_ids)

    @property
    def is_finished(self) -> bool:
        return self.constraint.is_finished

    @property
    def failure(self) -> str | None:
        if self.forced_id is not None:
            return "The reasoning budget is spent, and the tag that ends the reasoning is not allowed."
        return self.constraint.failure
