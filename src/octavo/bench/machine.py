"""What a figure was taken on, as far as the machine says."""

import os
import pathlib

CPUINFO = pathlib.Path("/proc/cpuinfo")


def processor_name(cpuinfo: pathlib.Path = CPUINFO) -> str:
    """As the kernel calls it; "unknown processor" where it does not."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return "unknown processor"


def describe_machine() -> dict[str, str | int]:
    """For Report.machine."""
    return {"processor": processor_name(), "cores": len(os.sched_getaffinity(0))}
