"""`octavo bench serve`: its options. What happens is in bench_serve_run.py, imported when it runs."""

import dataclasses
import pathlib
import pkgutil
import re
from typing import Annotated

from cyclopts import App, Group, Parameter

from octavo.cli.bench_offline import numbers_of, require_writable
from octavo.core.errors import StartError

WORKLOADS = ("random", "shared-prefix", "multi-turn", "trace")
APIS = ("completions", "chat")
ARRIVALS = ("poisson", "even")
DEFAULT_CONCURRENCY = "1,8,32,64"


def rates_of(text: str) -> tuple[float, ...]:
    """ "0.5,1,2" -> (0.5, 1.0, 2.0). Raises StartError."""
    parts = text.split(",")
    if not all(re.fullmatch(r"\d+(\.\d+)?", part) and float(part) > 0 for part in parts):
        raise StartError(f"--rate is {text!r}; allowed: numbers above 0, separated by commas, like 0.5,1,2.")
    return tuple(map(float, parts))


@dataclasses.dataclass(frozen=True, slots=True)
class ServerOptions:
    """What to measure."""

    base_url: str = "http://127.0.0.1:8000"
    """An OpenAI-compatible server."""
    api_key: str | None = None
    """Sent as a bearer token; default: OCTAVO_API_KEY, else none."""
    model: str | None = None
    """Default: the one the server lists first."""
    api: str = "completions"
    """completions, with prompts of token ids; or chat, with words."""
    label: str | None = None
    """What to call the server in results; default: its URL."""


@dataclasses.dataclass(frozen=True, slots=True)
class LoadOptions:
    """How much to ask. Several values are a sweep."""

    concurrency: Annotated[str | None, Parameter(metavar="N,N")] = None
    """Users at once, each with one request at a time; default 1,8,32,64."""
    rate: Annotated[str | None, Parameter(metavar="N,N")] = None
    """Instead: requests that arrive per second, whatever becomes of those before."""
    arrivals: str = "poisson"
    """How they arrive at a rate: poisson (at random) or even."""
    num_requests: int | None = None
    """Of each load; default: four for each user or unit of the rate, 32 at least; of a trace: all."""
    timeout: float = 600.0
    """Seconds after which a request has failed."""
    seed: int | None = None
    """Of the prompts and arrivals; default: a new one, which the results name."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadOptions:
    """What to ask."""

    workload: str = "random"
    """random, shared-prefix, multi-turn or trace."""
    input_tokens: Annotated[str, Parameter(metavar="N")] = "128"
    """Of a prompt, or a range like 100-1024; of what follows a shared prefix; of each turn."""
    output_tokens: Annotated[str, Parameter(metavar="N")] = "128"
    """Of an answer, or a range."""
    prefix_tokens: int = 1024
    """shared-prefix: of each prefix."""
    num_prefixes: int = 4
    """shared-prefix: how many there are."""
    turns: int = 4
    """multi-turn: of a conversation."""
    trace: pathlib.Path | None = None
    """Of JSON objects, one a line: output_length, input_length (or prompt, messages), timestamp (ms)."""
    speed: float = 1.0
    """trace: its times are divided by this."""
    ignore_eos: Annotated[bool, Parameter(negative="--no-ignore-eos")] = True
    """Ask that no answer end early, so that every one has its tokens; not every server knows the field."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReportOptions:
    """What to say of it."""

    target_ttft: float | None = None
    """Seconds to the first token of a good answer; goodput counts those that meet every target."""
    target_tpot: float | None = None
    """Mean seconds per output token after the first of a good answer."""
    target_e2e: float | None = None
    """Seconds to the last token of a good answer."""
    json: pathlib.Path | None = None
    """Write the results to this file."""
    html: pathlib.Path | None = None
    """Write a report with charts to this file; it needs no network."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServeBenchOptions:
    """All of them, checked as far as one sees them without the server. Raises StartError."""

    server: ServerOptions
    load: LoadOptions
    workload: WorkloadOptions
    report: ReportOptions

    def __post_init__(self) -> None:
        _require_one_of("--workload", self.workload.workload, WORKLOADS)
        _require_one_of("--api", self.server.api, APIS)
        _require_one_of("--arrivals", self.load.arrivals, ARRIVALS)
        numbers_of("--concurrency", self.load.concurrency or DEFAULT_CONCURRENCY)
        if self.load.rate is not None:
            rates_of(self.load.rate)
        if self.load.rate is not None and self.load.concurrency is not None:
            raise StartError("--rate and --concurrency exclude each other.")
        require_writable("--json", self.report.json)
        require_writable("--html", self.report.html)
        if (self.workload.workload == "trace") != (self.workload.trace is not None):
            raise StartError("--workload trace and --trace FILE go together.")
        for group in (self.load, self.workload, self.report):
            for field in dataclasses.fields(group):
                value = getattr(group, field.name)
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if is_number and field.name != "seed" and not value > 0:
                    raise StartError(f"--{field.name.replace('_', '-')} is {value}; it must be above 0.")

    @property
    def concurrencies(self) -> tuple[int, ...]:
        return numbers_of("--concurrency", self.load.concurrency or DEFAULT_CONCURRENCY)

    @property
    def rates(self) -> tuple[float, ...]:
        return rates_of(self.load.rate) if self.load.rate is not None else ()


def _require_one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise StartError(f"{flag} is {value!r}; allowed: {', '.join(allowed)}.")


SERVER, LOAD, WORKLOAD, REPORT = map(Group.create_ordered, ("Server", "Load", "Workload", "Report"))

serve = App(
    name="serve",
    usage="octavo bench serve [--base-url URL] [OPTIONS]",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
)


@serve.default
def run(
    *,
    server: Annotated[ServerOptions, Parameter(name="*", group=SERVER)] = ServerOptions(),
    load: Annotated[LoadOptions, Parameter(name="*", group=LOAD)] = LoadOptions(),
    workload: Annotated[WorkloadOptions, Parameter(name="*", group=WORKLOAD)] = WorkloadOptions(),
    report: Annotated[ReportOptions, Parameter(name="*", group=REPORT)] = ReportOptions(),
) -> int:
    """Measure a server from its clients' side: any that speaks the OpenAI API."""
    options = ServeBenchOptions(server, load, workload, report)
    exit_code: int = pkgutil.resolve_name("octavo.cli.bench_serve_run:run_serve")(options)
    return exit_code
