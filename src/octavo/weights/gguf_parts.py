"""A model's GGUF file, or the files it is split over, opened as one.

The first part holds the metadata, each part some of the tensors, and split.no, split.count and
split.tensors.count say how they belong together: the convention of llama.cpp's gguf-split.
"""

import pathlib
from collections.abc import Mapping, Sequence

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.core.split_name import SplitName
from octavo.weights.formats import Tensor
from octavo.weights.gguf import GGUFFile

_NUMBER, _COUNT, _NUM_TENSORS = "split.no", "split.count", "split.tensors.count"


class GGUFParts:
    """path and metadata are the first part's, and description, which reads these by type; tensors are those
    of all, part by part.

    The mappings end as GGUFFile's do.
    """

    def __init__(self, files: Sequence[GGUFFile]) -> None:
        """Raises ModelFileError for files that are not the parts of one model, in order."""
        self._files = files
        self.path = files[0].path
        self.metadata = files[0].metadata
        self.description = _described(files[0])
        if len(files) > 1:
            for number, file in enumerate(files):
                self._check_part(number, file)
        self.tensors: Mapping[str, Tensor] = self._joined()

    @classmethod
    def open(cls, path: pathlib.Path) -> "GGUFParts":
        """A file, and if it is named as a part of a model, the others beside it. Raises ModelFileError."""
        name = SplitName.parse(path.name)
        if name is not None and name.count > 1:
            return cls([GGUFFile.open(part) for part in _part_paths(path, name)])
        file = GGUFFile.open(path)
        count = _described(file).integer(_COUNT, 1)
        if count > 1:
            raise ModelFileError(
                f"{path}: it is one of {count} parts of a model, which are found by their names,"
                f" {SplitName('NAME', count, 1)} and so on; this one has another."
            )
        return cls([file])

    def close(self) -> None:
        self.tensors = {}
        for file in self._files:
            file.close()

    def __enter__(self) -> "GGUFParts":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_part(self, number: int, file: GGUFFile) -> None:
        metadata = _described(file)
        for key, expected in ((_NUMBER, number), (_COUNT, len(self._files))):
            if (found := metadata.integer(key)) != expected:
                raise metadata.error(key, found, f"{expected}, as the file is named")
        for key in file.metadata.keys() & self.metadata.keys() - {_NUMBER}:
            if file.metadata.raw(key) != self.metadata.raw(key):
                raise ModelFileError(
                    f"{file.path}: it is a part of another model than {self.path.name}: {key} differs."
                )

    def _joined(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for file in self._files:
            twice = tensors.keys() & file.tensors.keys()
            if twice:
                raise ModelFileError(f"{file.path}: tensor {min(twice)} is in an earlier part as well.")
            tensors |= file.tensors
        expected = self.description.integer(_NUM_TENSORS) if len(self._files) > 1 else len(tensors)
        if expected != len(tensors):
            raise self.description.error(
                _NUM_TENSORS, expected, f"{len(tensors)}, which all parts have together"
            )
        return tensors


def _described(file: GGUFFile) -> ModelMetadata:
    return ModelMetadata(str(file.path), file.metadata, file.metadata.lengths)


def _part_paths(path: pathlib.Path, name: SplitName) -> list[pathlib.Path]:
    paths = [path.with_name(str(part)) for part in name.parts]
    missing = next((part for part in paths if not part.is_file()), None)
    if missing is not None:
        raise ModelFileError(
            f"{path}: the model is split over {name.count} files, of which {missing.name} is missing."
        )
    return paths
