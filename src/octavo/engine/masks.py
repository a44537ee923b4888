"""Fills the masks of a step in a thread, while the back end computes what they are for.

Runs in the engine process.
"""

import concurrent.futures
from collections.abc import Callable, Sequence

import numpy as np

from octavo.core.step import Masks
from octavo.core.token_constraint import TokenConstraint

FillMasks = Callable[[Sequence[TokenConstraint], Masks], None]


class MaskFiller:
    """begin before a back end's submit, finish before its collect. The thread starts with the first mask."""

    def __init__(self, fill_masks: FillMasks, vocab_size: int) -> None:
        self._fill_masks = fill_masks
        self._num_words = -(-vocab_size // 32)
        self._threads = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="fill-masks")
        self._filling: concurrent.futures.Future[Masks] | None = None

    def begin(self, constraints: Sequence[TokenConstraint]) -> None:
        """In the order of the masks. Until finish returns nobody else touches them."""
        if constraints:
            self._filling = self._threads.submit(self._fill, constraints)

    def finish(self) -> Masks | None:
        """[constraints, words of 32 tokens]; None when there are no constraints."""
        filling, self._filling = self._filling, None
        return None if filling is None else filling.result()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _fill(self, constraints: Sequence[TokenConstraint]) -> Masks:
        masks = np.zeros((len(constraints), self._num_words), np.uint32)
        self._fill_masks(constraints, masks)
        return masks
