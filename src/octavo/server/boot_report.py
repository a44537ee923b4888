"""What `octavo serve` prints at its start: where the time and the memory went, and where to send requests."""

import os
import pathlib
import time
from collections.abc import Mapping, Sequence

from octavo import __version__
from octavo.core.counted import counted
from octavo.core.messages import Ready

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
LABEL_WIDTH = 12
NOTE = "  note      "
_START_TIME_FIELD = 19  # of /proc/self/stat, counted after the command's closing parenthesis


def process_age_seconds() -> float:
    """Since this process was created, the start of Python included; to a hundredth of a second."""
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[_START_TIME_FIELD]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


class Phases:
    """How long each phase of the start took, from the creation of the process on."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds = {"python": process_age_seconds()}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self._last
        self._last = now


def boot_report(info: Ready, phases: Phases, *, names: Sequence[str], chat: str, url: str) -> str:
    """A few lines. phases are the server's own; the engine's ran within the server's phase `engine`.

    chat: what the model can do in one, in words.
    """
    return "\n".join(
        (
            f"octavo {__version__}: {names[0]}, {counted(info.threads, 'thread')}, {info.isa}"
            + (f", activations of {info.activation_dtype}" if info.activation_dtype != "bf16" else ""),
            f"  server    {_timeline(phases.seconds)}",
            f"  engine    {_timeline(info.boot_seconds)}",
            f"  memory    {_sizes(_taken(info.memory))}",
            f"  reserved  {_sizes(_reserved(info.memory))}; taken as needed",
            f"  KV cache  {_kv_cache(info)}; context {info.max_model_len:,} tokens",
            f"  chat      {chat}",
            *(f"{NOTE}{notice}" for notice in info.notices),
            f"ready in {sum(phases.seconds.values()):.1f} s: {url} (model {', '.join(names)})",
        )
    )


def _timeline(phases: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in phases.items())


def _taken(plan: Mapping[str, int]) -> Mapping[str, int]:
    return {
        "weights": plan["weight_bytes"],
        "workspace": plan["workspace_bytes"],
        "Python": plan["process_bytes"],
    }


def _reserved(plan: Mapping[str, int]) -> Mapping[str, int]:
    return {
        "KV cache": plan["block_bytes"] * plan["num_blocks"],
        "checkpoint store": plan["block_bytes"] * plan["num_checkpoint_blocks"],
        "sampling": plan["sampling_bytes"],
    }


def _sizes(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(count)}" for name, count in parts.items())


def _kv_cache(info: Ready) -> str:
    size = format_bytes(info.memory["block_bytes"] * info.num_blocks)
    return f"{info.kv_dtype}, {info.num_blocks:,} blocks, {info.kv_tokens:,} tokens, {size}"


def format_bytes(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"
