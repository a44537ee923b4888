import threading
from collections.abc import Sequence

import numpy as np

from octavo.core.step import Masks
from octavo.core.token_constraint import TokenConstraint
from octavo.engine.masks import MaskFiller


class Numbered:
    is_finished = False
    failure = None

    def __init__(self, number: int) -> None:
        self.number = number


def fill(constraints: Sequence[TokenConstraint], masks: Masks) -> None:
    for constraint, mask in zip(constraints, masks, strict=True):
        assert isinstance(constraint, Numbered) and not mask.any()
        mask[:] = constraint.number


def test_masks_are_filled_between_begin_and_finish_in_another_thread() -> None:
    threads, may_go_on = [], threading.Event()

    def fill_later(constraints: Sequence[TokenConstraint], masks: Masks) -> None:
        may_go_on.wait(10)
        threads.append(threading.current_thread())
        fill(constraints, masks)

    filler = MaskFiller(fill_later, 65)
    for number in (1, 2):
        may_go_on.clear()
        filler.begin([Numbered(number), Numbered(7)])  # type: ignore[list-item]
        assert len(threads) == number - 1
        may_go_on.set()
        masks = filler.finish()
        assert masks is not None and masks.dtype == np.uint32
        assert masks.tolist() == [[number] * 3, [7] * 3]
    assert threading.current_thread() not in threads and len(set(threads)) == 1
    filler.close()


def test_without_constraints_there_is_nothing_to_do() -> None:
    filler = MaskFiller(fill, 64)
    filler.begin([])
    assert filler.finish() is None
    filler.begin([Numbered(3)])  # type: ignore[list-item]
    assert filler.finish() is not None
    assert filler.finish() is None
    filler.close()
