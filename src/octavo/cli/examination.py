"""What `octavo doctor` looks at: what is there, what octavo makes of it, and what would be better.

A check reads the machine and changes nothing. Files are read below a root that tests replace.
"""

import contextlib
import importlib.util
import os
import pathlib
import platform
import shutil
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator

import numpy as np

from octavo.backends.cpu.backend import FASTER_WITH_INT8, default_isa
from octavo.backends.cpu.library import load_library
from octavo.cli.finding import Finding, Grade
from octavo.cli.tables import size
from octavo.config import EngineConfig, Environment, ServerConfig
from octavo.core.errors import StartError
from octavo.engine.resources import SYSTEM_ROOT, available_cores, available_memory_bytes
from octavo.http.listener import listen
from octavo.models.catalog import SMOLLM2
from octavo.models.store import stored_models

COMPILERS = ("c++", "g++", "clang++")
OPTIMIZED = "--enable-optimizations"  # by a profile, an option of Python's configure
DISTRIBUTION_PREFIX = "/usr"
LITTLE_DISK = 2 << 30
BANDWIDTH_SAMPLE_BYTES = 128 << 20
BANDWIDTH_RUNS = 3


def examine(environment: Environment, root: pathlib.Path = SYSTEM_ROOT) -> Iterator[Finding]:
    """All checks, the cheap ones first; each finding as soon as it is known."""
    yield cores(root)
    yield instruction_set(environment.cpu_isa)
    yield memory(root)
    yield huge_pages(root)
    yield bandwidth(available_cores(root))
    yield load(root, available_cores(root))
    yield interpreter(sys.base_prefix, sysconfig.get_config_var("CONFIG_ARGS") or "")
    yield compiler()
    yield home(environment.home)
    yield models(environment.home)
    yield installers()
    yield port(ServerConfig().host, ServerConfig().port)


def cores(root: pathlib.Path) -> Finding:
    usable, online = available_cores(root), os.cpu_count() or 1
    name = _field(root / "proc/cpuinfo", "model name")
    text = f"{usable} of {online}{f', {name}' if name else ''}; octavo computes on {usable} threads"
    if usable < online:
        return Finding(
            "cores",
            text,
            Grade.NOTE,
            "Affinity or a control group (a container's cpu limit) withholds the rest.",
        )
    return Finding("cores", text)


def instruction_set(forced: str | None) -> Finding:
    try:
        library = load_library()
        best = default_isa()
    except (StartError, OSError) as error:
        return Finding(
            "kernels", str(error), Grade.FAIL, "Install octavo again, with a C++17 compiler at hand."
        )
    if forced is not None and not library.octavo_has_isa(forced.encode()):
        return Finding(
            "kernels", f"OCTAVO_CPU_ISA={forced}", Grade.FAIL, f"Unset it; this processor has {best}."
        )
    if forced is not None and forced != best:
        advice = f"Unset OCTAVO_CPU_ISA to use {best}; the answers are the same, bit for bit."
        return Finding("kernels", f"{forced}, forced by OCTAVO_CPU_ISA", Grade.NOTE, advice)
    if best in FASTER_WITH_INT8:
        advice = "`octavo serve --activation-dtype int8` is about twice as fast; its price: docs/accuracy.md."
        return Finding("kernels", f"{best}, no AMX", Grade.NOTE, advice)
    if best == "portable":
        return Finding("kernels", best, Grade.NOTE, "A processor with AVX2 or more computes faster.")
    return Finding("kernels", best)


def memory(root: pathlib.Path) -> Finding:
    usable = available_memory_bytes(root)
    text = f"{size(usable)} this process may take"
    needed = 4 * SMOLLM2.num_bytes  # weights, workspace, and a KV cache worth having
    if usable < needed:
        return Finding("memory", text, Grade.FAIL, f"The smallest model known by name wants {size(needed)}.")
    return Finding("memory", f"{text}; a KV cache is a quarter of what the weights leave, 4 GiB at most")


def huge_pages(root: pathlib.Path) -> Finding:
    path = root / "sys/kernel/mm/transparent_hugepage/enabled"
    text = path.read_text().strip() if path.is_file() else ""
    mode = text.partition("[")[2].partition("]")[0]
    if mode in ("always", "madvise"):
        return Finding("huge pages", f"{mode}; octavo asks for them")
    advice = f"echo madvise > {path} (as root) saves the processor work on memory."
    return Finding("huge pages", mode or "not told", Grade.NOTE, advice)


def bandwidth(num_threads: int) -> Finding:
    """Reading memory, all cores at once: what bounds the tokens per second of one stream."""
    rate = _read_rate(num_threads, BANDWIDTH_SAMPLE_BYTES, BANDWIDTH_RUNS)
    speed = f"{rate / 1e9:.0f}"
    bound = f"one stream of a model of 1 GB gets at most {speed} tokens/s"
    return Finding("bandwidth", f"about {speed} GB/s: {bound}")


def _read_rate(num_threads: int, num_bytes: int, runs: int) -> float:
    """Bytes per second of the best run."""
    arrays = [np.ones(num_bytes // 8 // num_threads, np.int64) for _ in range(num_threads)]
    best = float("inf")
    for _ in range(runs):
        readers = [threading.Thread(target=np.add.reduce, args=(array,)) for array in arrays]
        start = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        best = min(best, time.perf_counter() - start)
    return sum(array.nbytes for array in arrays) / best


def load(root: pathlib.Path, usable_cores: int) -> Finding:
    path = root / "proc/loadavg"
    busy = float(path.read_text().split()[0]) if path.is_file() else 0.0
    text = f"{busy:.1f} processes want to run, on average of the last minute"
    if busy > usable_cores / 2:
        return Finding(
            "load", text, Grade.NOTE, "Others compute here; what octavo measures now is less than it can."
        )
    return Finding("load", text)


def interpreter(prefix: str, built_with: str) -> Finding:
    """built_with: the arguments of Python's configure. Distributions optimize in their own way."""
    text = f"{platform.python_version()}, of {prefix}"
    if prefix == DISTRIBUTION_PREFIX or OPTIMIZED in built_with:
        return Finding("Python", text)
    advice = (
        "One that is takes a quarter less time around the kernels; a distribution's own is:"
        " remove .venv, then PYTHON=/usr/bin/python3 make serve."
    )
    return Finding("Python", f"{text}, built without {OPTIMIZED}", Grade.NOTE, advice)


def compiler() -> Finding:
    found = next((path for path in map(shutil.which, COMPILERS) if path), None)
    if found is None:
        return Finding("compiler", "none; only installing from source needs one")
    return Finding("compiler", found)


def home(path: pathlib.Path) -> Finding:
    folder = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(folder, os.W_OK):
        return Finding(
            "OCTAVO_HOME", f"{path} cannot be written", Grade.FAIL, "Set OCTAVO_HOME to another folder."
        )
    free = shutil.disk_usage(folder).free
    text = f"{path}, {size(free)} free"
    if free < LITTLE_DISK:
        return Finding("OCTAVO_HOME", text, Grade.NOTE, "`octavo rm` makes room for other models.")
    return Finding("OCTAVO_HOME", text)


def models(path: pathlib.Path) -> Finding:
    found = [model for model in stored_models(path) if model.is_complete]
    if not found:
        advice = (
            f"`octavo pull` fetches {EngineConfig().model}; `octavo run` and `octavo serve` do as they start."
        )
        return Finding("models", "none here yet", Grade.NOTE, advice)
    return Finding("models", ", ".join(model.name for model in found))


def installers() -> Finding:
    if importlib.util.find_spec("pip") is None and shutil.which("uv") is None:
        advice = "Models known by name are fetched by pip or uv; install one of them."
        return Finding("fetching", "neither pip nor uv is here", Grade.NOTE, advice)
    if importlib.util.find_spec("huggingface_hub") is None:
        advice = "pip install 'octavo[hub]' adds the models of a hub."
        return Finding("fetching", "models known by name only", Grade.NOTE, advice)
    return Finding("fetching", "models known by name, and models of a hub")


def port(host: str, number: int) -> Finding:
    try:
        with contextlib.closing(listen(host, number)):
            return Finding("port", f"{number} on {host} is free")
    except StartError as error:
        return Finding("port", str(error), Grade.NOTE, "`octavo serve --port N` takes another.")


def _field(path: pathlib.Path, name: str) -> str:
    """The first line `name : value` of a file in /proc."""
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
