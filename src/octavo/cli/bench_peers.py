"""`octavo bench peers`: its options. What happens is in bench_peers_run.py, imported when it runs."""

import dataclasses
import pathlib
import pkgutil
from typing import Annotated

from cyclopts import App, Parameter

from octavo.cli.bench_offline import numbers_of
from octavo.core.errors import StartError


@dataclasses.dataclass(frozen=True, slots=True)
class PeersOptions:
    """What to measure."""

    engines: Annotated[str, Parameter(metavar="NAME,NAME")] = "octavo,llama.cpp"
    """In this order; --list names all."""
    model: str = "default"
    """The GGUF file, or its name, for those that read one."""
    checkpoint: pathlib.Path | None = None
    """A folder with config.json and safetensors, for those that read one."""
    concurrency: Annotated[str, Parameter(metavar="N,N")] = "1,8,32,64"
    """Requests that arrive at once, one cell for each number."""
    input_tokens: int = 128
    """Tokens of each prompt; they are random and never repeat."""
    output_tokens: int = 128
    """Tokens of each answer."""
    runs: int = 5
    """Bursts of each cell; engines take turns."""
    threads: int | None = None
    """Threads of each engine; default: the cores this process may use."""
    out: pathlib.Path = pathlib.Path("bench-peers")
    """A folder for cells, tables and logs. What is in it already is not measured again."""
    list: bool = False
    """Say which engines there are, and how each is built and set."""

    def __post_init__(self) -> None:
        numbers_of("--concurrency", self.concurrency)
        for name in ("input_tokens", "output_tokens", "runs", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise StartError(f"--{name.replace('_', '-')} is {value}; allowed: 1 or more.")

    @property
    def concurrencies(self) -> tuple[int, ...]:
        return numbers_of("--concurrency", self.concurrency)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.engines.split(","))


peers = App(
    name="peers",
    usage="octavo bench peers [OPTIONS]",
    group_parameters="Options",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)


@peers.default
def run(*, options: Annotated[PeersOptions, Parameter(name="*")] = PeersOptions()) -> int:
    """Measure other engines beside this one: each installed for itself, all loaded, one running at a time."""
    exit_code: int = pkgutil.resolve_name("octavo.cli.bench_peers_run:run_peers")(options)
    return exit_code
