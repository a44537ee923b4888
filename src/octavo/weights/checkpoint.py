"""The weights of one model by the names its program uses: each part as the file stores it.

Knows no file format and no program: what lies above hands it tensors, and the shapes the program asks for.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import xxhash
from numpy.typing import NDArray

from octavo.core.errors import ModelFileError
from octavo.core.tensor_slice import TensorNames, TensorSlice
from octavo.weights.formats import Tensor
from octavo.weights.mapped_file import MappedFile

Shape = tuple[int, int]  # rows, columns; a vector has one column

_MAX_NAMES_SHOWN = 4


class Checkpoint:
    """Tensors by part name ("layers.0.q"): complete, and each of the shape the program asks for."""

    def __init__(self, source: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> None:
        """Raises ModelFileError, naming source and the parts that are missing or of another shape."""
        self._source = source
        missing = [part for part in shapes if part not in tensors]
        if missing:
            raise ModelFileError(f"{source}: no tensor for {_shown(missing)}.")
        self.parts: Mapping[str, Tensor] = {part: tensors[part] for part in shapes}
        for part, shape in shapes.items():
            self._check(part, shape)

    @classmethod
    def of_file(
        cls,
        source: str,
        tensors: Mapping[str, Tensor],
        names: TensorNames,
        shapes: Mapping[str, Shape],
    ) -> "Checkpoint":
        """A file's tensors under the part names of `names`.

        Raises ModelFileError also for a tensor, or rows of one, without a part: they would silently not be
        computed with.
        """
        slices: dict[str, list[TensorSlice]] = {}  # of each tensor that `names` mentions
        for place in names.values():
            name = place if isinstance(place, str) else place.name
            slices.setdefault(name, []).extend([] if isinstance(place, str) else [place])
        missing = [name for name in slices if name not in tensors]
        if missing:
            raise ModelFileError(f"{source}: tensors are missing: {_shown(missing)}.")
        unknown = [name for name in tensors if name not in slices]
        if unknown:
            raise ModelFileError(
                f"{source}: tensors that this model family does not have, or has only with a feature"
                f" that is not supported: {_shown(unknown)}."
            )
        for name, pieces in slices.items():
            if pieces:
                _check_slices(source, tensors[name], pieces)
        return cls(source, {part: _placed(tensors, place) for part, place in names.items()}, shapes)

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, NDArray[np.float32] | NDArray[np.uint16]], shapes: Mapping[str, Shape]
    ) -> "Checkpoint":
        """A checkpoint in memory: float32 arrays become F32 tensors; uint16 ones hold bits of BF16."""
        return cls("memory", {part: Tensor.of(part, array) for part, array in arrays.items()}, shapes)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.parts.values())

    @property
    def files(self) -> list[MappedFile]:
        """Those that the parts lie in, each once."""
        return list(dict.fromkeys(part.file for part in self.parts.values() if part.file is not None))

    def drop_pages(self, *, is_read_again: bool) -> None:
        """As MappedFile.drop_pages, of all files."""
        for file in self.files:
            file.drop_pages(is_read_again=is_read_again)

    def fingerprint(self, context: Iterable[bytes]) -> str:
        """128 bits of hex over every part's name, format, shape and bytes, and over context (in order).

        context is whatever else decides the results: numerics version, rope, tokenizer. A fast hash: it tells
        models apart, it does not withstand an attacker who crafts weights.
        """
        state = xxhash.xxh3_128()
        for field in context:
            state.update(len(field).to_bytes(8, "little") + field)
        for part in sorted(self.parts):
            tensor = self.parts[part]
            state.update(f"{part} {tensor.format.label} {tensor.num_rows} {tensor.num_columns}\n".encode())
            state.update(tensor.data.data)
        return state.hexdigest()

    def _check(self, part: str, shape: Shape) -> None:
        tensor = self.parts[part]
        found = (tensor.num_rows, tensor.num_columns)
        if found != shape:
            raise ModelFileError(
                f"{self._source}: tensor {tensor.name} has {found[0]} rows of {found[1]}; "
                f"expected {shape[0]} rows of {shape[1]}."
            )


def _check_slices(source: str, tensor: Tensor, slices: list[TensorSlice]) -> None:
    """Slices follow each other from the first row of the tensor to its last."""
    slices = sorted(slices, key=lambda piece: piece.first_row)
    starts = [*(piece.first_row for piece in slices), tensor.num_rows]
    if starts != [0, *(piece.first_row + piece.num_rows for piece in slices)]:
        shown = ", ".join(str(piece.num_rows) for piece in slices[:_MAX_NAMES_SHOWN])
        raise ModelFileError(
            f"{source}: tensor {tensor.name} has {tensor.num_rows} rows of {tensor.num_columns}; expected"
            f" {len(slices)} parts one below the other, of {shown} rows."
        )


def _placed(tensors: Mapping[str, Tensor], place: str | TensorSlice) -> Tensor:
    if isinstance(place, str):
        return tensors[place]
    return tensors[place.name].rows(place.first_row, place.num_rows)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + more
