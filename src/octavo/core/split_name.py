"""Names of the GGUF files that one model is split over, as llama.cpp's gguf-split has them:
NAME-00001-of-00003.gguf.
"""

import dataclasses
import re

_PATTERN = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class SplitName:
    """number counts from 1 to count."""

    stem: str
    count: int
    number: int

    @classmethod
    def parse(cls, name: str) -> "SplitName | None":
        """None for a file that is no part."""
        match = _PATTERN.fullmatch(name)
        if match is None:
            return None
        found = cls(match["stem"], int(match["count"]), int(match["number"]))
        return found if 1 <= found.number <= found.count else None

    @property
    def parts(self) -> "list[SplitName]":
        """All of the model's, in order."""
        return [dataclasses.replace(self, number=number) for number in range(1, self.count + 1)]

    def __str__(self) -> str:
        return f"{self.stem}-{self.number:05}-of-{self.count:05}.gguf"


def model_stem(name: str) -> str:
    """A file's name without what says that it is a GGUF file, or a part of one."""
    split = SplitName.parse(name)
    return split.stem if split else re.sub(r"\.gguf$", "", name, flags=re.IGNORECASE)
