"""`octavo route`: the router's options as flags, production-stack's spellings among them."""

import dataclasses
import pathlib
import pkgutil
import sys
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from octavo.cli.config_file import ConfigFile
from octavo.config import Environment, RouterConfig
from octavo.router.options import RouteOptions

POLICIES_ELSEWHERE = {"roundrobin": "round-robin", "prefixaware": "prefix"}  # production-stack's words


@dataclasses.dataclass(frozen=True, slots=True)
class RouterFlags(RouterConfig):
    """RouterConfig as it is typed: not yet whole, so not yet checked."""

    endpoints: Annotated[tuple[str, ...], Parameter(name=("--endpoints", "--static-backends"))] = ()
    """Servers to route to, as the arguments are (may repeat, or be separated by commas)."""
    policy: Annotated[str, Parameter(name=("--policy", "--routing-logic"))] = "cost"
    """Who gets a request: cost, prefix, least-load, session or round-robin."""
    compat_metrics: Annotated[bool, Parameter(negative=())] = False
    """Tell metrics of production-stack's router also by names that engines have."""

    def __post_init__(self) -> None:
        pass

    def checked(self, urls: tuple[str, ...]) -> RouterConfig:
        """With the endpoints given as arguments. Raises StartError."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {
            "endpoints": (*split(urls), *split(self.endpoints)),
            "standby_endpoints": split(self.standby_endpoints),
            "static_models": split(self.static_models),
            "model_policies": split(self.model_policies),
            "on_demand_models": split(self.on_demand_models),
            "static_aliases": split(self.static_aliases),
            "policy": POLICIES_ELSEWHERE.get(self.policy, self.policy),
        }
        return RouterConfig(**values)


def split(values: tuple[str, ...]) -> tuple[str, ...]:
    """Options may repeat, or list several values with commas."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


route = cyclopts.App(
    name="route",
    usage="octavo route ENDPOINT... [OPTIONS]",
    config=[ConfigFile()],
    group_parameters="Options",
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
)


@route.default
def run(
    *endpoints: str,
    router: Annotated[RouterFlags, Parameter(name="*")] = RouterFlags(),
    config: pathlib.Path | None = None,
) -> int:
    """Route requests to OpenAI-compatible servers: octavo, vLLM, llama.cpp or any other.

    Parameters
    ----------
    endpoints
        Where the servers are, like http://10.0.0.1:8000.
    config
        A YAML file of options, named as the flags are. Where both speak, the command line decides.
    """
    options = RouteOptions(
        router=router.checked(endpoints), environment=Environment.read(), is_terminal=sys.stderr.isatty()
    )
    exit_code: int = pkgutil.resolve_name("octavo.router.run:run_router")(options)
    return exit_code
