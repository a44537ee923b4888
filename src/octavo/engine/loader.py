"""From a config to a running engine: opens the model, plans memory, loads the back end, wires it all.

The only place where an engine's objects meet; used by the engine process and, in-process, by `LLM`.
"""

import dataclasses
import functools
import pathlib
import time

from octavo.backends.base import MemoryPlan, StepLimits
from octavo.backends.cpu.backend import FASTER_WITH_INT8, CpuBackend, default_isa
from octavo.backends.cpu.memory_plan import plan_memory
from octavo.config import GIB, EngineConfig, Environment
from octavo.core.activation_dtype import ActivationDType
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.counted import counted
from octavo.core.errors import StartError
from octavo.core.kv_dtype import KVDType
from octavo.core.messages import Ready, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.decoding.grammar import GrammarCompiler
from octavo.decoding.prompt_lookup import PromptLookup
from octavo.engine.core import EngineCore, Journal
from octavo.engine.model_files import Model, open_model, open_vocabulary
from octavo.engine.resources import available_cores, available_memory_bytes, resident_bytes
from octavo.engine.weight_loading import load_weights, rounding_notices
from octavo.kv.manager import KVManager
from octavo.models.digits import with_digits
from octavo.models.program import Program
from octavo.models.source import resolve
from octavo.scheduler.scheduler import Scheduler
from octavo.scheduler.step_time import StepCost
from octavo.weights.repacked import RepackedFiles

KV_MEMORY_SHARE = 4  # by default, one part in so many of what the weights leave
MAX_DEFAULT_KV_MEMORY = 4 * GIB
CHECKPOINT_SHARE = 8  # the checkpoint store is one part in so many of the KV cache
MIB = 1 << 20

# What one thread does in a second: where the step-time model starts, before the engine's own steps fit it.
READ_BYTES_PER_SECOND = 15e9
OPERATIONS = {  # of linear layers, two for a product
    ActivationDType.BF16: {
        "amx": 5e11,
        "avx512": 8e10,
        "avx2": 4e10,
        "portable": 3e9,
        "amx_emulated": 1e9,
        "avx512_plain": 8e10,
        "avx2_plain": 4e10,
    },
    ActivationDType.INT8: {
        "amx": 3e11,
        "avx512": 3e11,
        "avx2": 1.5e11,
        "portable": 3e10,
        "amx_emulated": 1e11,
        "avx512_plain": 2e11,
        "avx2_plain": 1e11,
    },
}
SECONDS_PER_REQUEST = 2e-5


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    core: EngineCore
    ready: Ready
    kv_bytes_per_token: float  # of context, all layers


def load_engine(
    config: EngineConfig, environment: Environment, journal: Journal | None = None, epoch: int = 0
) -> LoadedEngine:
    """Load a model and compute its first token. Raises StartError: file, machine or flags do not fit."""
    clock = _Stopwatch()
    path = resolve(config.model, environment.home)
    model = open_model(path)
    program = _program(model, config)
    clock.lap("open model")
    threads = config.threads or available_cores()
    max_model_len = _max_model_len(config, model)
    limits = StepLimits(config.max_num_seqs, config.max_num_batched_tokens, max_model_len)
    isa = environment.cpu_isa or default_isa()
    fixed = plan_memory(program, model.checkpoint.parts, limits, threads, isa)
    plan = _plan(config, fixed, len(model.program.kv_groups), available_memory_bytes())
    model.checkpoint.drop_pages(is_read_again=True)  # those of the header: they do not stay
    process_bytes = resident_bytes()
    loaded = load_weights(model, RepackedFiles.of_home(environment.home), threads, clock.lap)
    fingerprint = _fingerprint(loaded.fingerprint, config)
    parts, weights = model.checkpoint.parts, loaded.packed
    num_blocks = (plan.num_blocks, plan.num_checkpoint_blocks)
    backend = CpuBackend(program, parts, limits, *num_blocks, num_threads=threads, isa=isa, weights=weights)
    kv = _kv_manager(config, model, plan)
    core = EngineCore(
        _scheduler(config, kv, _step_cost(model, plan, threads, isa, _activations(config)), epoch),
        backend,
        max_model_len=max_model_len,
        vocab_size=model.architecture.vocab_size,
        eos_token_ids=model.end_ids,
        fingerprint=bytes.fromhex(fingerprint),
        enable_prefix_caching=config.enable_prefix_caching,
        grammars=_grammars(model, path),
        journal=journal,
        new_drafter=PromptLookup if config.num_speculative_tokens else None,
        idle_work=backend.touch_ahead,
    )
    compute_first_token(core)
    clock.lap("first token")
    ready = Ready(
        epoch=epoch,
        max_model_len=max_model_len,
        vocab_size=model.architecture.vocab_size,
        num_blocks=plan.num_blocks,
        memory={**dataclasses.asdict(plan), "process_bytes": process_bytes},
        boot_seconds=clock.laps,
        fingerprint=fingerprint,
        kv_dtype=config.kv_dtype,
        activation_dtype=_activations(config).value,
        threads=threads,
        isa=isa,
        kv_cache_memory=plan.num_blocks * _bytes_per_block(plan),
        kv_tokens=kv.capacity_in_tokens(max_model_len),
        notices=rounding_notices(model) + loaded.notices + _advice(config, model, threads, isa),
    )
    return LoadedEngine(core, ready, _kv_bytes_per_token(model, plan))


def compute_first_token(core: EngineCore) -> None:
    """Run one request through the whole engine, outside metrics and prefix cache."""
    sampling = SamplingParams(temperature=0, max_tokens=1)
    core.add(Submit("first-token", [0, 1], 2, sampling, seed=0, arrival=time.monotonic(), is_probe=True))
    while core.has_work:
        core.step()


def _program(model: Model, config: EngineConfig) -> Program:
    """Raises StartError for a kind of activations that no layer would use."""
    program = model.program.with_kv_dtype(KVDType(config.kv_dtype))
    if _activations(config) is ActivationDType.BF16:
        return program
    if not _is_quantized(model):
        raise StartError(
            f"--activation-dtype is {config.activation_dtype}, for quantized weights, of which"
            f" {model.path.name} has none."
        )
    return with_digits(program)


def _fingerprint(model: str, config: EngineConfig) -> str:
    """Of what is computed with a model's weights (hex)."""
    return _activations(config).fingerprint(KVDType(config.kv_dtype).fingerprint(model))


def _activations(config: EngineConfig) -> ActivationDType:
    return ActivationDType(config.activation_dtype or ActivationDType.BF16)


def _is_quantized(model: Model) -> bool:
    return any(tensor.format.is_quantized for tensor in model.checkpoint.parts.values())


def _advice(config: EngineConfig, model: Model, threads: int, isa: str) -> tuple[str, ...]:
    """Sentences on what would be faster. Where somebody has chosen the kind of activations, none on that."""
    advice = []
    if threads > available_cores():
        cores = counted(available_cores(), "core")
        advice.append(f"{threads:,} threads on {cores}: they wait for each other")
    if config.activation_dtype is None and isa in FASTER_WITH_INT8 and _is_quantized(model):
        advice.append(
            "without AMX, --activation-dtype int8 is about twice as fast; its price: docs/accuracy.md"
        )
    return tuple(advice)


def _grammars(model: Model, path: pathlib.Path) -> GrammarCompiler:
    vocab_size = model.architecture.vocab_size
    return GrammarCompiler(functools.partial(open_vocabulary, path), vocab_size, model.end_ids)


def _max_model_len(config: EngineConfig, model: Model) -> int:
    longest = model.architecture.max_position
    if config.max_model_len is None:
        return longest
    if config.max_model_len > longest:
        raise StartError(
            f"--max-model-len is {config.max_model_len}; this model was trained for up to {longest}."
        )
    return config.max_model_len


def _plan(config: EngineConfig, fixed: MemoryPlan, num_groups: int, available: int) -> MemoryPlan:
    """How many KV blocks fit. Raises StartError when the model does not, or not two blocks."""
    left = available - fixed.total_bytes
    kv_memory = config.kv_cache_memory
    if kv_memory is None:
        kv_memory = min(max(left, 0) // KV_MEMORY_SHARE, MAX_DEFAULT_KV_MEMORY)
    num_blocks = kv_memory // _bytes_per_block(fixed)
    plan = dataclasses.replace(
        fixed, num_blocks=num_blocks, num_checkpoint_blocks=num_blocks // CHECKPOINT_SHARE
    )
    if plan.total_bytes > available:
        raise StartError(
            f"Not enough memory: {plan.total_bytes // MIB:,} MiB are needed (weights"
            f" {plan.weight_bytes // MIB:,}, KV cache {kv_memory // MIB:,}, workspace"
            f" {plan.workspace_bytes // MIB:,}, sampling {plan.sampling_bytes // MIB:,});"
            f" {available // MIB:,} MiB are available; --kv-cache-memory makes the KV cache smaller."
        )
    if num_blocks < 2 * num_groups:
        raise StartError(
            f"--kv-cache-memory is {kv_memory:,} bytes; one block of {BLOCK_SIZE} tokens takes"
            f" {plan.block_bytes * num_groups:,}, and at least two are needed."
        )
    return plan


def _bytes_per_block(plan: MemoryPlan) -> int:
    """A block, and its share of the checkpoint store."""
    return plan.block_bytes + plan.block_bytes // CHECKPOINT_SHARE


def _step_cost(
    model: Model, plan: MemoryPlan, threads: int, isa: str, activations: ActivationDType
) -> StepCost:
    """By arithmetic: a step reads the weights once, a row multiplies them, and reads its context's KV."""
    read_bytes, operations = READ_BYTES_PER_SECOND * threads, OPERATIONS[activations][isa] * threads
    return StepCost(
        per_step=plan.weight_bytes / read_bytes,
        per_token=2 * model.program.num_active_parameters / operations,
        per_context_token=_kv_bytes_per_token(model, plan) / read_bytes,
        per_request=SECONDS_PER_REQUEST,
    )


def _kv_bytes_per_token(model: Model, plan: MemoryPlan) -> float:
    return plan.block_bytes * len(model.program.kv_groups) / BLOCK_SIZE


def _kv_manager(config: EngineConfig, model: Model, plan: MemoryPlan) -> KVManager:
    return KVManager(
        plan.num_blocks,
        plan.num_checkpoint_blocks,
        windows=tuple(group.window for group in model.program.kv_groups),
        max_num_batched_tokens=config.max_num_batched_tokens,
        enable_prefix_caching=config.enable_prefix_caching,
    )


def _scheduler(config: EngineConfig, kv: KVManager, step_cost: StepCost, epoch: int) -> Scheduler:
    return Scheduler(
        kv,
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        target_itl_seconds=config.target_itl,
        target_ttft_seconds=config.target_ttft,
        step_cost=step_cost,
        num_speculative_tokens=config.num_speculative_tokens,
        epoch=epoch,
    )


class _Stopwatch:
    """Seconds between laps, by name, in order."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
