"""What a router process is started with."""

import dataclasses

from octavo.config import Environment, RouterConfig


@dataclasses.dataclass(frozen=True, slots=True)
class RouteOptions:
    router: RouterConfig
    environment: Environment
    is_terminal: bool  # stderr is one
