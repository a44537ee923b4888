"""The names a model is served under, and GET /v1/models."""

import dataclasses
from typing import Any

from octavo.core.errors import ModelNotFoundError

ALWAYS_SERVED_NAME = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModel:
    names: tuple[str, ...]  # the first is the model's own in metrics; `default` works besides
    created: int  # unix seconds
    max_model_len: int

    @property
    def all_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.names, ALWAYS_SERVED_NAME)))

    def check(self, name: str) -> None:
        """Raises ModelNotFoundError, listing the names there are."""
        if name not in self.all_names:
            raise ModelNotFoundError(name, self.all_names)

    def card(self, name: str) -> dict[str, Any]:
        """OpenAI's model object, with vLLM's root and max_model_len."""
        self.check(name)
        return {
            "id": name,
            "object": "model",
            "created": self.created,
            "owned_by": "octavo",
            "root": self.names[0],
            "max_model_len": self.max_model_len,
        }

    def cards(self) -> dict[str, Any]:
        return {"object": "list", "data": [self.card(name) for name in self.all_names]}
