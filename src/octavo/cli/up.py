"""`octavo up`: a whole fleet on this machine, from a few flags or from the values of the Helm chart."""

import dataclasses
import pathlib
import pkgutil
import sys
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from octavo.config import ROUTING_POLICIES, Environment
from octavo.core.errors import StartError
from octavo.core.fitting import fitted
from octavo.fleet.located_yaml import DURATIONS, read_duration
from octavo.fleet.values import MAX_REPLICAS, FleetValues, ModelValues, RouterValues, read_values
from octavo.models.source import complaint_of

DEFAULT_REPLICAS = 2  # without a file
_MODEL_FLAGS = {
    "name": "--model",
    "replicas": "--replicas",
    "starts_on_first_request": "--start-on-first-request",
    "idle_seconds": "--idle-timeout",
    "kv_dtype": "--kv-dtype",
    "activation_dtype": "--activation-dtype",
    "num_standbys": "--standby",
}


@dataclasses.dataclass(frozen=True, slots=True)
class UpFlags:
    """A fleet of one model, as it is typed."""

    model: str | None = None
    """A GGUF file, a model's folder, a name `octavo list` knows, or a hub's org/name."""
    replicas: int | None = None
    """How many engines serve it; default: what FILE says, else 2."""
    host: str | None = None
    """Address the router listens on."""
    port: int | None = None
    """Port the router listens on; 0 takes a free one."""
    start_on_first_request: Annotated[bool, Parameter(negative=())] = False
    """Start the model's engines when somebody asks for it; the request waits."""
    idle_timeout: str | None = None
    """Without a request for so long (like 30s or 5m) they are stopped, until somebody asks again."""
    standby: int | None = None
    """How many more engines stay warm, to take over at once when another one dies."""
    kv_dtype: str | None = None
    """What KV caches hold: bf16, or int8, in half the memory."""
    activation_dtype: str | None = None
    """What quantized weights are multiplied by: bf16, or int8, faster where there are no matrix units."""
    policy: str | None = None
    """Who gets a request: round-robin, least-load, session, prefix or cost."""

    def applied(self, values: FleetValues) -> FleetValues:
        """values, but where a flag speaks. Raises StartError."""
        models, router = self._models(values.models), self._router(values.router)
        if not router.is_enabled and any(model.is_on_demand or model.num_standbys for model in models):
            raise StartError("Starting on demand and standbys need the router, which is not enabled.")
        return dataclasses.replace(values, models=models, router=router)

    def _models(self, models: tuple[ModelValues, ...]) -> tuple[ModelValues, ...]:
        changes = self._changes_of_model()
        if not changes:
            return models
        if len(models) > 1:
            flags = ", ".join(_MODEL_FLAGS[name] for name in changes)
            raise StartError(f"{flags}: for a fleet of one model; the file has several.")
        return (dataclasses.replace(models[0], **changes),)

    def _changes_of_model(self) -> dict[str, Any]:
        """Fields of ModelValues."""
        if self.replicas is not None and not 1 <= self.replicas <= MAX_REPLICAS:
            raise StartError(f"--replicas is {self.replicas}; allowed: 1 to {MAX_REPLICAS}.")
        if self.standby is not None and not 0 <= self.standby <= MAX_REPLICAS:
            raise StartError(f"--standby is {self.standby}; allowed: 0 to {MAX_REPLICAS}.")
        idle_seconds = None if self.idle_timeout is None else read_duration(self.idle_timeout)
        if idle_seconds == 0:
            raise StartError(f"--idle-timeout is {self.idle_timeout!r}; allowed: {DURATIONS}.")
        values = {
            "name": self.model,
            "replicas": self.replicas,
            "starts_on_first_request": self.start_on_first_request or None,
            "idle_seconds": idle_seconds,
            "num_standbys": self.standby,
            "kv_dtype": self.kv_dtype,
            "activation_dtype": self.activation_dtype,
        }
        return {name: value for name, value in values.items() if value is not None}

    def _router(self, router: RouterValues) -> RouterValues:
        if self.port is not None and not 0 <= self.port < 65536:
            raise StartError(f"--port is {self.port}; allowed: 0 to 65535.")
        if self.policy is not None and self.policy not in ROUTING_POLICIES:
            raise StartError(f"--policy is {self.policy!r}; allowed: {', '.join(ROUTING_POLICIES)}.")
        if self.policy == "session" and router.session_key is None:
            raise StartError("--policy session needs a file whose router has a sessionKey.")
        return dataclasses.replace(
            router,
            host=self.host or router.host,
            port=router.port if self.port is None else self.port,
            policy=self.policy or router.policy,
        )


up = cyclopts.App(
    name="up",
    usage="octavo up [FILE] [OPTIONS]",
    group_parameters="Options",
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
)


@up.default
def run(
    file: pathlib.Path | None = None,
    /,
    *,
    flags: Annotated[UpFlags, Parameter(name="*")] = UpFlags(),
    check: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Start a router and several engines on this machine, and keep them running.

    Parameters
    ----------
    file
        Values of the Helm chart, in YAML. Where both speak, the command line decides.
    check
        Say what FILE asks for, or what is wrong with it, and start nothing.
    """
    values = flags.applied(FleetValues() if file is None else _read(file))
    if file is None and flags.replicas is None:
        values = UpFlags(replicas=DEFAULT_REPLICAS).applied(values)
    if check:
        fleet = pkgutil.resolve_name("octavo.fleet.run")
        missing = fleet.missing_models(values, Environment.read().home)
        _, lines = fleet.describe_fleet(values)
        print("\n".join([fitted("\n".join(lines), fleet.LABEL_WIDTH, sys.stdout), *missing]))
        return 0
    exit_code: int = pkgutil.resolve_name("octavo.fleet.run:run_fleet")(values, Environment.read())
    return exit_code


def _read(file: pathlib.Path) -> FleetValues:
    """Raises StartError. `octavo serve` and `octavo run` take a model there."""
    has_values = file.is_file() and file.suffix != ".gguf"
    if not has_values and complaint_of(str(file)) is None and file.suffix not in (".yaml", ".yml"):
        raise StartError(f"FILE is one of YAML, which {file} is not; a model is named by --model.")
    return read_values(file, complaint_of)
