"""What a fleet is made of: the values of octavo's Helm chart, read from a file or made of flags.

A field that one machine cannot honour is listed as such; one that is not known is a mistake.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator

from octavo.config import ACTIVATION_DTYPES, KV_DTYPES, ROUTING_POLICIES, EngineConfig
from octavo.fleet.located_yaml import Fields, Mistakes, read_fields
from octavo.models.source import served_name

DEFAULT_MODEL = "smollm2-135m-instruct"
MAX_REPLICAS = 64
PREFIX_AWARE_POLICIES = ("prefix", "cost")
MAX_TOKENS = 1 << 24
MAX_CORES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class ModelValues:
    """One model and its replicas. None: what `octavo serve` takes by itself, or this machine gives."""

    name: str = DEFAULT_MODEL
    replicas: int = 1
    served_names: tuple[str, ...] = ()
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    kv_cache_memory: int | None = None  # bytes, each replica
    kv_dtype: str | None = None
    activation_dtype: str | None = None
    threads: int | None = None  # each replica
    max_threads: int | None = None  # each replica's, where they are not given
    policy: str | None = None  # None: the router's
    num_standbys: int = 0  # beside the replicas
    starts_on_first_request: bool = False
    idle_seconds: float | None = None  # without a request, until its replicas are stopped

    @property
    def client_names(self) -> tuple[str, ...]:
        """What clients call it; the first is its own."""
        return self.served_names or (served_name(self.name),)

    @property
    def is_on_demand(self) -> bool:
        """A request may have to wait until it is started."""
        return self.starts_on_first_request or self.idle_seconds is not None


@dataclasses.dataclass(frozen=True, slots=True)
class RouterValues:
    is_enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8000
    policy: str = "cost"
    session_key: str | None = None
    api_key_file: pathlib.Path | None = None
    drain_seconds: float = 30.0
    inter_token_seconds: float = 30.0
    start_seconds: float = 120.0  # that a request waits for a model that is started on demand
    waiting_room_seconds: float | None = None
    aliases: tuple[tuple[str, str, float], ...] = ()  # alias, model, and its share of the alias's requests


@dataclasses.dataclass(frozen=True, slots=True)
class FleetValues:
    models: tuple[ModelValues, ...] = (ModelValues(),)
    router: RouterValues = RouterValues()
    not_honoured: tuple[str, ...] = ()  # sentences

    @property
    def num_regular_replicas(self) -> int:
        return sum(model.replicas for model in self.models)

    @property
    def num_replicas(self) -> int:
        """Standbys among them."""
        return self.num_regular_replicas + sum(model.num_standbys for model in self.models)


def read_values(
    path: pathlib.Path, complaint_of_model: Callable[[str], str | None] = lambda name: None
) -> FleetValues:
    """Raises StartError, naming line and field of every mistake; complaint_of_model is asked of each name."""
    fields, mistakes = read_fields(path)
    notes = Notes()
    limits = _limits(fields.fields("resources"), notes)
    of_router = fields.fields("router")
    of_aliases = of_router.fields("aliases")
    router = _router(of_router, tuple(_aliases(of_aliases)))
    reader = ModelReader(limits, router.is_enabled, router.session_key is not None, notes, complaint_of_model)
    models = _models(fields, mistakes, reader)
    for alias, complaint in unmet_aliases(router, models):
        of_aliases.complain(alias, complaint)
    _observability(fields.fields("observability"), notes)
    fields.close()
    mistakes.raise_any()
    return FleetValues(models, router, tuple(notes.lines))


class Notes:
    """What is not honoured."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, fields: Fields, name: str, value: object, why: str) -> None:
        line = fields.line_of(name)
        self._found.append((line, f"line {line}: {fields.name_of(name)}: {value}: {why}"))

    @property
    def lines(self) -> list[str]:
        return [text for _, text in sorted(self._found)]


def _models(fields: Fields, mistakes: Mistakes, reader: "ModelReader") -> tuple[ModelValues, ...]:
    """`model` with `replicaCount`, or `models`, each with its `replicas`."""
    if not fields.has("models"):
        replicas = fields.whole("replicaCount", 1, 1, MAX_REPLICAS)
        fields.each("models")
        return (reader.read(fields.fields("model"), replicas),)
    for name in ("model", "replicaCount"):
        fields.refuse(name, "is for a fleet of one model; with models, each item says its own")
    each = fields.each("models")
    models = tuple(reader.read(item, item.whole("replicas", 1, 1, MAX_REPLICAS)) for item in each)
    if not models:
        fields.complain("models", "is empty")
    taken: set[str] = set()
    for item, model in zip(each, models, strict=True):
        for name in model.client_names:
            if name in taken:
                mistakes.add(item.line_of("name"), f"{item.name_of('name')}: {name} is served already.")
            taken.add(name)
    return models


@dataclasses.dataclass(frozen=True, slots=True)
class ModelReader:
    """What all models of a file have in common."""

    max_threads: int | None
    is_routed: bool
    has_sessions: bool
    notes: Notes
    complaint_of_model: Callable[[str], str | None]

    def read(self, fields: Fields, replicas: int) -> ModelValues:
        if not self.is_routed:
            for name in ("startOnFirstRequest", "idleTimeout", "standby", "policy"):
                fields.refuse(name, "needs the router, which is not enabled")
        policy = fields.text("policy", "", ROUTING_POLICIES) or None
        if policy == "session" and not self.has_sessions:
            fields.complain(
                "policy", "is session; router.sessionKey must name the header that tells them apart"
            )
        name = fields.text("name", DEFAULT_MODEL)
        if (complaint := self.complaint_of_model(name)) is not None:
            fields.complain("name", f"is {name!r}: {complaint.removesuffix('.')}")
        model = ModelValues(
            name=name,
            replicas=replicas,
            served_names=fields.texts("servedName"),
            max_model_len=fields.whole_or_none("maxModelLen", 2, MAX_TOKENS),
            max_num_seqs=fields.whole_or_none("maxNumSeqs", 1, EngineConfig().max_num_batched_tokens),
            kv_cache_memory=fields.size("kvCacheMemory"),
            kv_dtype=fields.text("kvDtype", "", KV_DTYPES) or None,
            activation_dtype=fields.text("activationDtype", "", ACTIVATION_DTYPES) or None,
            threads=fields.whole_or_none("threads", 1, MAX_CORES),
            max_threads=self.max_threads,
            policy=policy,
            num_standbys=fields.whole("standby", 0, 0, MAX_REPLICAS),
            starts_on_first_request=fields.flag("startOnFirstRequest", False),
            idle_seconds=fields.seconds("idleTimeout"),
        )
        width = fields.whole("tensorParallelism", 1, 1, 1024)
        if width > 1:
            why = "a replica on a CPU is one engine, whose threads share each layer's work"
            self.notes.add(fields, "tensorParallelism", width, why)
        fields.close()
        return model


def _limits(resources: Fields, notes: Notes) -> int | None:
    """Returns the most threads of a replica, if that is limited. Kubernetes' names, and what they do here."""
    threads = None
    for kind in ("limits", "requests"):
        fields = resources.fields(kind)
        for name, value in fields.values().items():
            if kind == "limits" and name == "cpu":
                threads = fields.whole_or_none("cpu", 1, MAX_CORES)
            elif kind == "requests":
                notes.add(fields, name, value, "nothing is reserved on one machine")
            elif name == "memory":
                why = "no limit is enforced here; kvCacheMemory of a model says what its KV cache takes"
                notes.add(fields, name, value, why)
            else:
                notes.add(fields, name, value, "not on this machine: octavo computes on its CPUs")
    resources.close()
    return threads


def _router(fields: Fields, aliases: tuple[tuple[str, str, float], ...]) -> RouterValues:
    default = RouterValues()
    is_prefix_aware = fields.flag("prefixAwareRouting", True)
    policy = fields.text("policy", default.policy if is_prefix_aware else "least-load", ROUTING_POLICIES)
    if fields.has("prefixAwareRouting") and is_prefix_aware != (policy in PREFIX_AWARE_POLICIES):
        fields.complain("policy", f"is {policy}, and prefixAwareRouting {str(is_prefix_aware).lower()}")
    session_key = fields.text("sessionKey") or None
    if policy == "session" and session_key is None:
        fields.complain("policy", "is session; sessionKey must name the header that tells sessions apart")
    api_key_file = fields.text("apiKeyFile")
    router = RouterValues(
        is_enabled=fields.flag("enabled", True),
        host=fields.text("host", default.host),
        port=fields.whole("port", default.port, 0, 65535),
        policy=policy,
        session_key=session_key,
        api_key_file=pathlib.Path(api_key_file) if api_key_file else None,
        drain_seconds=fields.seconds("drainTimeout") or default.drain_seconds,
        inter_token_seconds=fields.seconds("interTokenTimeout") or default.inter_token_seconds,
        start_seconds=fields.seconds("startTimeout") or default.start_seconds,
        waiting_room_seconds=fields.seconds("waitingRoom"),
        aliases=aliases,
    )
    fields.close()
    return router


def _aliases(fields: Fields) -> Iterator[tuple[str, str, float]]:
    """A model for each alias, or several with their shares."""
    for alias, meant in fields.values().items():
        shares = {meant: 1} if isinstance(meant, str) else meant
        if not isinstance(shares, dict) or not all(map(_is_share, shares.keys(), shares.values())):
            fields.complain(alias, "must be a model, or models with their shares, as {old: 90, new: 10}")
        elif not any(shares.values()):
            fields.complain(alias, "has no model with a share")
        else:
            yield from ((alias, model, share) for model, share in shares.items())
    fields.close()


def unmet_aliases(router: RouterValues, models: Iterable[ModelValues]) -> Iterator[tuple[str, str]]:
    """Each alias of a model that is not there, and what is to be said of it."""
    served = {name for model in models for name in model.client_names}
    for alias, model, _ in router.aliases:
        if model not in served:
            yield alias, f"names {model}; there are: {', '.join(sorted(served))}"


def _is_share(model: object, share: object) -> bool:
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    return isinstance(model, str) and is_number and (share == 0 or 0.001 <= share <= 1e5)  # type: ignore[operator]


def _observability(fields: Fields, notes: Notes) -> None:
    """/metrics is always there; a dashboard is a cluster's."""
    if not fields.flag("prometheus", True):
        notes.add(fields, "prometheus", "false", "/metrics is always served; nobody has to ask for it")
    if fields.flag("grafana", False):
        notes.add(fields, "grafana", "true", "no dashboard is started here; /metrics has what one would show")
    fields.close()
