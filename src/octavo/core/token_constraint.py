"""What a grammar is to the engine: it says which tokens may come next, and is told which one did."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TokenConstraint(Protocol):
    """The constraint of one request, in the state after all of its output tokens. It never raises."""

    def fill_mask(self, mask: NDArray[np.uint32]) -> None:
        """Set bit t % 32 of mask[t // 32] for each token t that may come next; all bits are zero before.

        No bit set fails the request.
        """

    def advance(self, token_ids: Sequence[int]) -> None:
        """These tokens were generated."""

    @property
    def is_finished(self) -> bool:
        """The answer is complete and nothing may follow."""
        ...

    @property
    def failure(self) -> str | None:
        """Why fill_mask set no bit, as a sentence, if it is not that the grammar allows none."""
        ...
