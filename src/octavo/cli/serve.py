"""`octavo serve`: the options of config.py as flags. The server itself is imported only when it runs."""

import dataclasses
import pathlib
import pkgutil
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from octavo.cli.config_file import ConfigFile
from octavo.cli.help import columns
from octavo.config import EngineConfig, Environment, ServerConfig
from octavo.core.errors import StartError
from octavo.core.limits import LIMITS
from octavo.models.source import resolve, served_name
from octavo.server.options import ServeOptions

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE)


def read_bytes(hint: Any, tokens: Sequence[cyclopts.Token]) -> int:
    """2GiB, 512M, 1.5g or a plain number, in powers of 1024. Raises StartError."""
    text = tokens[0].value
    size = _SIZE.fullmatch(text.strip())
    if size is None:
        raise StartError(
            f"--kv-cache-memory is {text!r}; allowed: a number of bytes, or one like 512MiB or 2GiB."
        )
    return int(float(size["number"]) * _UNITS[size["unit"].lower()])


@dataclasses.dataclass(frozen=True, slots=True)
class EngineFlags(EngineConfig):
    """EngineConfig as it is typed."""

    kv_cache_memory: Annotated[int | None, Parameter(converter=read_bytes, metavar="SIZE")] = None
    """Memory for KV blocks, like 2GiB; default: a quarter of what this process may use, 4 GiB at most."""


def limits_of_requests() -> str:
    """The end of --help, for a terminal of 80 columns."""
    rows = [
        (item.what, f"{item.limit}, else {item.beyond}{item.flag and f' ({item.flag})'}") for item in LIMITS
    ]
    return "\n".join(("Limits of requests:", *columns(rows, width=80)))


serve = cyclopts.App(
    name="serve",
    usage="octavo serve [MODEL] [OPTIONS]",
    config=[ConfigFile()],
    group_parameters="Options",
    default_parameter=Parameter(negative_iterable=()),
    help_epilogue=limits_of_requests(),
    result_action="return_value",
)


@serve.default
def run(
    model: str | None = None,
    /,
    *,
    engine: Annotated[EngineFlags, Parameter(name="*")] = EngineFlags(),
    server: Annotated[ServerConfig, Parameter(name="*")] = ServerConfig(),  # noqa: B008
    config: pathlib.Path | None = None,
) -> int:
    """Serve a model over an OpenAI-compatible API.

    Parameters
    ----------
    model
        A GGUF file, a model's folder, a name `octavo list` knows, or a hub's org/name[:file][@revision]; the
        same as --model.
    config
        A YAML file of options, named as the flags are. Where both speak, the command line decides.
    """
    name = engine.model if model is None else model
    environment = Environment.read()
    path = resolve(name, environment.home)
    options = ServeOptions(
        engine=dataclasses.replace(engine, model=str(path)),  # the engine process has nothing to fetch
        server=server,
        environment=environment,
        model_path=path,
        model_name=served_name(name),
        is_terminal=sys.stderr.isatty(),
    )
    exit_code: int = pkgutil.resolve_name("octavo.server.boot:run_server")(options)
    return exit_code
