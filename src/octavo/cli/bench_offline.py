"""`octavo bench offline`: its options. What happens is in bench_offline_run.py, imported when it runs."""

import dataclasses
import os
import pathlib
import pkgutil
import re
from typing import Annotated

from cyclopts import App, Parameter

from octavo.cli.run import LoadOptions
from octavo.core.errors import StartError


def numbers_of(flag: str, text: str) -> tuple[int, ...]:
    """ "1,8,32" -> (1, 8, 32). Raises StartError."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise StartError(f"{flag} is {text!r}; allowed: numbers above 0, separated by commas, like 1,8,32.")
    return tuple(int(part) for part in text.split(","))


def require_writable(flag: str, path: pathlib.Path | None) -> None:
    """Before anything is measured. Raises StartError."""
    if path is None:
        return
    if path.is_dir():
        raise StartError(f"{flag} {path} is a folder; allowed: a file.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise StartError(f"{flag} {path} cannot be written; is its folder there?")


@dataclasses.dataclass(frozen=True, slots=True)
class OfflineOptions:
    """What to measure."""

    concurrency: Annotated[str, Parameter(metavar="N,N")] = "1,8,32,64"
    """Requests that arrive at once, one cell for each number."""
    input_tokens: int = 128
    """Tokens of each prompt; they are random and never repeat."""
    output_tokens: int = 128
    """Tokens of each answer."""
    num_speculative_tokens: int = 0
    """As `octavo serve` takes it; answers to random prompts repeat themselves more than others do."""
    runs: int = 3
    """Bursts of each cell, in turns; a rate is their median."""
    seed: int = 0
    """Of the prompts."""
    json: pathlib.Path | None = None
    """Write the results to this file."""
    profile: bool = False
    """Print what a step's time goes into, against what the machine's memory allows."""

    @property
    def concurrencies(self) -> tuple[int, ...]:
        return numbers_of("--concurrency", self.concurrency)

    def __post_init__(self) -> None:
        numbers_of("--concurrency", self.concurrency)
        require_writable("--json", self.json)
        for name in ("input_tokens", "output_tokens", "runs"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise StartError(f"--{flag} is {getattr(self, name)}; allowed: 1 or more.")


offline = App(
    name="offline",
    usage="octavo bench offline [OPTIONS]",
    group_parameters="Options",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)


@offline.default
def run(
    *,
    model: str = "default",
    bench: Annotated[OfflineOptions, Parameter(name="*")] = OfflineOptions(),
    load: Annotated[LoadOptions, Parameter(name="*")] = LoadOptions(),  # noqa: B008
) -> int:
    """Measure the engine alone: bursts of random prompts, without a server, in this process.

    Parameters
    ----------
    model
        As `octavo serve` takes it.
    """
    exit_code: int = pkgutil.resolve_name("octavo.cli.bench_offline_run:run_offline")(model, bench, load)
    return exit_code
