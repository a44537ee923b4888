"""Where a weight's part lies in a model file: a whole tensor, or some rows of a fused one.

Plain data: families name tensors with it, checkpoints cut them.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSlice:
    """Rows [first_row, first_row + num_rows) of the tensor `name`.

    A tensor of three axes counts as its matrices one below the other: expert e of a tensor [experts, rows,
    columns] is rows [e * rows, (e + 1) * rows).
    """

    name: str
    first_row: int
    num_rows: int


TensorNames = Mapping[str, str | TensorSlice]  # part name -> where it is
