"""How one machine is divided among a fleet's replicas: cores, KV memory, and the command of each process."""

import dataclasses
import pathlib
from collections.abc import Sequence

from octavo.config import GIB, EngineConfig
from octavo.fleet.values import FleetValues, ModelValues, RouterValues
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
    """One `octavo serve`. threads and kv_cache_memory (bytes) are its own."""

    name: str
    model: ModelValues
    model_name: str  # what clients call it
    threads: int
    kv_cache_memory: int

    def arguments(self, path: pathlib.Path, port: int, router: RouterValues) -> list[str]:
        """Of `octavo serve`, for the model that lies at path."""
        options: dict[str, object] = {
            "--host": LOCALHOST,
            "--port": port,
            "--threads": self.threads,
            "--kv-cache-memory": self.kv_cache_memory,
            "--max-model-len": self.model.max_model_len,
            "--max-num-seqs": self.model.max_num_seqs,
            "--api-key-file": router.api_key_file,
            "--drain-seconds": router.drain_seconds,
        }
        names = self.model.served_names or (self.model_name,)
        return ["serve", str(path), *_flags(options), *(f"--served-model-name={name}" for name in names)]


@dataclasses.dataclass(frozen=True, slots=True)
class FleetPlan:
    router: RouterValues
    replicas: tuple[ReplicaPlan, ...]
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
            "--health-interval-seconds": HEALTH_INTERVAL_SECONDS,
        }
        return ["route", *urls, *_flags(options), *self._naming()]

    def _naming(self) -> list[str]:
        """With several models `default` is the first: each replica would claim it for its own."""
        firsts = [replica.model_name for replica in self.replicas]
        if len(set(firsts)) == 1:
            return []
        aliases = [f"default:{firsts[0]}"]
        for name, replica in {replica.model_name: replica for replica in self.replicas}.items():
            aliases += [f"{alias}:{name}" for alias in replica.model.served_names[1:]]
        return [
            *(f"--static-models={name}" for name in firsts),
            *(f"--static-aliases={alias}" for alias in aliases),
        ]

    def lines(self) -> list[str]:
        """What each process gets, for people."""
        lines = []
        if self.router.is_enabled:
            resumes = (
                "streams outlive their replica" if len(self.replicas) > 1 else "one replica, no failover"
            )
            lines.append(f"router  policy {self.router.policy}; {resumes}")
        for replica in self.replicas:
            threads = f"{replica.threads} thread{'s' * (replica.threads != 1)}"
            memory = f"KV cache {format_bytes(replica.kv_cache_memory)}"
            lines.append(f"{replica.name:7} {replica.model_name}, {threads}, {memory}")
        num_threads = sum(replica.threads for replica in self.replicas)
        if num_threads > self.machine.cores:
            lines.append(
                f"warning {num_threads} threads on {_cores(self.machine.cores)}: replicas wait for each other"
            )
        return lines


def plan_fleet(values: FleetValues, machine: Machine) -> FleetPlan:
    """Raises StartError: an option of a model is out of range."""
    base, num_larger = divmod(machine.cores, values.num_replicas)
    memory = min(machine.free_memory // KV_MEMORY_SHARE // values.num_replicas, MAX_KV_MEMORY)
    replicas: list[ReplicaPlan] = []
    for model in values.models:
        for _ in range(model.replicas):
            number = len(replicas)
            share = max(1, base + (number < num_larger))
            replica = ReplicaPlan(
                name=f"r{number}",
                model=model,
                model_name=(*model.served_names, served_name(model.name))[0],
                threads=model.threads or min(share, model.max_threads or share),
                kv_cache_memory=model.kv_cache_memory or memory,
            )
            _check(replica)
            replicas.append(replica)
    return FleetPlan(values.router, tuple(replicas), machine)


def _check(replica: ReplicaPlan) -> None:
    """What `octavo serve` would refuse is refused now."""
    model, default = replica.model, EngineConfig()
    EngineConfig(max_model_len=model.max_model_len, max_num_seqs=model.max_num_seqs or default.max_num_seqs)


def _flags(options: dict[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
