"""A model's description of itself (GGUF metadata, config.json): values type-checked, errors naming the key.

Plain data: knows no file format and no model family.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from octavo.core.errors import ModelFileError

LARGEST_NUMBER = 1e30  # products of a few such numbers are finite, in double precision


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMetadata:
    """values by key; source is the file, for error messages; lengths are those of arrays that are known
    without reading them.

    Every reader raises ModelFileError when the key is there with another type, or missing without a default.
    """

    source: str
    values: Mapping[str, Any]
    lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def integer(self, key: str, default: int | None = None, *, minimum: int = 0) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, value, "an integer")
        if not minimum <= value < 1 << 64:
            raise self.error(key, value, f"{minimum} or more, in 64 bits")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        return self.integer(key, default, minimum=1)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, value, "a number")
        if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            raise self.error(key, value, f"a number up to {LARGEST_NUMBER:g}")
        return float(value)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.error(key, value, "a string")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, value, "true or false")
        return value

    def strings(self, key: str) -> list[str]:
        value = self._get(key, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, value, "an array of strings")
        return value

    def length(self, key: str) -> int:
        """Of an array."""
        if key in self.lengths:
            return self.lengths[key]
        value = self._get(key, None)
        if not isinstance(value, list):
            raise self.error(key, value, "an array")
        return len(value)

    def integers(self, key: str, default: Sequence[int] | None = None) -> list[int]:
        value = self._get(key, default)
        value = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise self.error(key, value, "an array of integers")
        return value

    def numbers(self, key: str) -> list[float]:
        value = self._get(key, None)
        value = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(value, list) or not all(type(item) in (int, float) for item in value):
            raise self.error(key, value, "an array of numbers")
        return value

    def token_id(self, key: str, num_tokens: int, default: int | None) -> int | None:
        """The default may be None, or an id that counts only if there is such a token."""
        if self.values.get(key) is None:
            return default if default is not None and default < num_tokens else None
        token_id = self.integer(key)
        if token_id >= num_tokens:
            raise self.error(key, token_id, f"an id below {num_tokens}, the size of the vocabulary")
        return token_id

    def error(self, key: str, value: object, expected: str) -> ModelFileError:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:36]} ..."
        return ModelFileError(f"{self.source}: metadata key {key} is {shown}; expected {expected}.")

    def _get(self, key: str, default: object) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise ModelFileError(f"{self.source}: metadata key {key} is missing.")
        return value
