"""What a server process is started with."""

import dataclasses
import pathlib

from octavo.config import EngineConfig, Environment, ServerConfig


@dataclasses.dataclass(frozen=True, slots=True)
class ServeOptions:
    engine: EngineConfig
    server: ServerConfig
    environment: Environment
    model_path: pathlib.Path
    model_name: str  # the model's own, under which it is served when no other name is given
    is_terminal: bool  # stderr is one

    @property
    def names(self) -> tuple[str, ...]:
        """Under which the model is served, besides `default`."""
        return self.server.served_model_name or (self.model_name,)
