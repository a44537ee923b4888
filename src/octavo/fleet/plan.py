"""How one machine is divided among a fleet's replicas: cores, KV memory, and the command of each process."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

from octavo.config import GIB, EngineConfig
from octavo.core.counted import counted
from octavo.core.errors import StartError
from octavo.fleet.values import FleetValues, ModelValues, RouterValues, unmet_aliases
from octavo.models.source import served_name
from octavo.server.boot_report import format_bytes

MAX_KV_MEMORY = 4 * GIB  # of one replica
KV_MEMORY_SHARE = 4  # one part in so many of the free memory is all replicas' KV cache
HEALTH_INTERVAL_SECONDS = 0.5
LOCALHOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    cores: int
    free_memory: int  # bytes


@dataclasses.dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """One `octavo serve`. threads and kv_cache_memory (bytes) are its own. is_standby: it serves only in
    place of another one."""

    name: str
    model: ModelValues
    model_name: str  # what clients call it
    threads: int
    kv_cache_memory: int
    is_standby: bool = False

    def arguments(self, path: pathlib.Path, port: int, router: RouterValues) -> list[str]:
        """Of `octavo serve`, for the model that lies at path."""
        options: dict[str, object] = {
            "--host": LOCALHOST,
            "--port": port,
            "--threads": self.threads,
            "--kv-cache-memory": self.kv_cache_memory,
            "--kv-dtype": self.model.kv_dtype,
            "--activation-dtype": self.model.activation_dtype,
            "--max-model-len": self.model.max_model_len,
            "--max-num-seqs": self.model.max_num_seqs,
            "--api-key-file": router.api_key_file,
            "--drain-seconds": router.drain_seconds,
        }
        names = [f"--served-model-name={name}" for name in self.model.client_names]
        return ["serve", str(path), *_flags(options), *names]

    @property
    def description(self) -> str:
        """For people."""
        model = self.model
        own_name = served_name(model.name)
        parts = [
            self.model_name if self.model_name == own_name else f"{self.model_name} ({own_name})",
            counted(self.threads, "thread"),
            f"KV cache {format_bytes(self.kv_cache_memory)}"
            + (f" of {model.kv_dtype}" if model.kv_dtype else ""),
        ]
        if model.activation_dtype is not None:
            parts.append(f"activations {model.activation_dtype}")
        if model.policy is not None:
            parts.append(f"policy {model.policy}")
        if self.is_standby:
            parts.append("standby")
        if model.starts_on_first_request:
            parts.append("starts on the first request")
        if model.idle_seconds is not None:
            parts.append(f"sleeps after {model.idle_seconds:g} s without a request")
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class FleetPlan:
    router: RouterValues
    replicas: tuple[ReplicaPlan, ...]  # standbys last, as the router numbers them
    machine: Machine

    def router_arguments(self, port: int, urls: Sequence[str]) -> list[str]:
        """Of `octavo route`. urls: of the replicas, in their order."""
        router = self.router
        options: dict[str, object] = {
            "--host": router.host,
            "--port": port,
            "--policy": router.policy,
            "--session-key": router.session_key,
            "--api-key-file": router.api_key_file,
            "--drain-seconds": router.drain_seconds,
            "--inter-token-seconds": router.inter_token_seconds,
            "--start-seconds": router.start_seconds if self._on_demand else None,
            "--waiting-room-seconds": router.waiting_room_seconds,
            "--health-interval-seconds": HEALTH_INTERVAL_SECONDS,
        }
        regular = [url for url, replica in zip(urls, self.replicas, strict=True) if not replica.is_standby]
        standbys = urls[len(regular) :]
        return [
            "route",
            *regular,
            *_flags(options),
            *(f"--standby-endpoints={url}" for url in standbys),
            *(f"--on-demand-models={name}" for name in self._on_demand),
            *self._naming(),
            *(f"--static-aliases={alias}:{model}={share:g}" for alias, model, share in router.aliases),
            *(f"--model-policies={name}={policy}" for name, policy in self._policies.items()),
        ]

    @property
    def _policies(self) -> dict[str, str]:
        """By what clients call a model that has its own, aliases aside; `default` is the first of them."""
        models = list(dict.fromkeys(replica.model for replica in self.replicas))
        names = {"default": models[0].policy} if models else {}
        names |= {name: model.policy for model in models for name in model.client_names}
        aliases = self._aliases.keys() | {alias for alias, _, _ in self.router.aliases}
        aliases -= {alias for alias, model, _ in self.router.aliases if alias == model}  # which keep a share
        return {name: policy for name, policy in names.items() if policy is not None and name not in aliases}

    @property
    def _on_demand(self) -> list[str]:
        """What clients call the models that may have to be started first."""
        return list(dict.fromkeys(one.model_name for one in self.replicas if one.model.is_on_demand))

    @property
    def _is_naming(self) -> bool:
        """Whether the router has to be told what models are called: with several each replica would claim
        `default` for its own, and what one is called that has not been started nobody can be asked."""
        return len({replica.model_name for replica in self.replicas}) > 1 or bool(self._on_demand)

    @property
    def _aliases(self) -> dict[str, str]:
        """Of the models' own names, where the router is told of them. `default` is the first."""
        if not self._is_naming:
            return {}
        is_default_taken = any(alias == "default" for alias, _, _ in self.router.aliases)
        aliases = {} if is_default_taken else {"default": self.replicas[0].model_name}
        for replica in self.replicas:
            aliases |= dict.fromkeys(replica.model.served_names[1:], replica.model_name)
        return aliases

    def _naming(self) -> list[str]:
        if not self._is_naming:
            return []
        return [
            *(f"--static-models={replica.model_name}" for replica in self.replicas),
            *(f"--static-aliases={alias}:{name}" for alias, name in self._aliases.items()),
        ]

    def lines(self) -> list[str]:
        """What each process gets, for people."""
        lines = []
        if self.router.is_enabled:
            resumes = (
                "streams outlive their replica" if len(self.replicas) > 1 else "one replica, no failover"
            )
            lines.append(f"router  policy {self.router.policy}; {resumes}")
        for description, alike in itertools.groupby(self.replicas, lambda replica: replica.description):
            first, *others = (replica.name for replica in alike)
            name, each = (f"{first}-{others[-1]}", " each") if others else (first, "")
            lines.append(f"{name:7} {description}{each}")
        num_threads = sum(replica.threads for replica in self.replicas if not replica.is_standby)
        if num_threads > self.machine.cores:
            cores = counted(self.machine.cores, "core")
            lines.append(f"warning {num_threads} threads on {cores}: replicas wait for each other")
        return lines


def plan_fleet(values: FleetValues, machine: Machine) -> FleetPlan:
    """Raises StartError: an option of a model is out of range.

    A standby computes in place of another one, so it takes none of the cores; its memory is its own."""
    base, num_larger = divmod(machine.cores, values.num_regular_replicas)
    memory = min(machine.free_memory // KV_MEMORY_SHARE // values.num_replicas, MAX_KV_MEMORY)
    models = [(model, False) for model in values.models for _ in range(model.replicas)]
    models += [(model, True) for model in values.models for _ in range(model.num_standbys)]
    replicas = []
    for number, (model, is_standby) in enumerate(models):
        share = max(1, base + (number < num_larger))
        replica = ReplicaPlan(
            name=f"r{number}",
            model=model,
            model_name=model.client_names[0],
            threads=model.threads or min(share, model.max_threads or share),
            kv_cache_memory=model.kv_cache_memory or memory,
            is_standby=is_standby,
        )
        _check(replica)
        replicas.append(replica)
    for alias, complaint in unmet_aliases(values.router, values.models):  # flags may have changed the models
        raise StartError(f"router.aliases.{alias} {complaint}.")
    return FleetPlan(values.router, tuple(replicas), machine)


def _check(replica: ReplicaPlan) -> None:
    """What `octavo serve` would refuse is refused now."""
    model, default = replica.model, EngineConfig()
    EngineConfig(
        max_model_len=model.max_model_len,
        max_num_seqs=model.max_num_seqs or default.max_num_seqs,
        kv_dtype=model.kv_dtype or default.kv_dtype,
        activation_dtype=model.activation_dtype,
    )


def _flags(options: dict[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]
