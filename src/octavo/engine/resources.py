"""How many cores and how much memory this process may use: its affinity and its control groups, v1 and v2.

Limits of a container are those of its own group and of every group above it that is visible. All files are
read below a root that tests replace. A file that is missing or says "max" sets no limit.
"""

import os
import pathlib
from collections.abc import Iterator

SYSTEM_ROOT = pathlib.Path("/")
_CGROUPS = pathlib.PurePath("sys/fs/cgroup")


def available_cores(root: pathlib.Path = SYSTEM_ROOT, affinity: int | None = None) -> int:
    """Cores that may compute at once, at least 1; part of a core counts as none.

    affinity is the number of cores in this process's affinity mask, which the kernel keeps inside its cpuset.
    """
    cores = len(os.sched_getaffinity(0)) if affinity is None else affinity
    for directory in _groups(root, ""):
        quota, _, period = _read(directory / "cpu.max").partition(" ")
        cores = min(cores, _whole_cores(quota, period, default=cores))
    for directory in _groups(root, "cpu"):
        quota, period = _read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us")
        cores = min(cores, _whole_cores(quota, period, default=cores))
    for directory in (*_groups(root, ""), *_groups(root, "cpuset")):
        cpus = _read(directory / "cpuset.cpus.effective") or _read(directory / "cpuset.effective_cpus")
        cores = min(cores, _count_cpus(cpus) or cores)
    return max(1, cores)


def _whole_cores(quota: str, period: str, *, default: int) -> int:
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return default  # "max" in v2, -1 in v1
    return int(quota) // int(period)


def _count_cpus(cpus: str) -> int:
    """The number of cores in a list like 0-3,8."""
    count = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            count += int(last or first) - int(first) + 1
    return count


def available_memory_bytes(root: pathlib.Path = SYSTEM_ROOT) -> int:
    """Bytes this process can still take before a limit or the machine's memory is reached.

    Memory that holds a cache of files counts as free.

    Raises OSError when the machine does not say how much memory it has.
    """
    available = _machine_memory_bytes(root)
    for directory in _groups(root, ""):
        used = _group_usage(directory, "memory.current", "inactive_file")
        for limit in ("memory.max", "memory.high"):
            available = min(available, _headroom(directory / limit, used, default=available))
    for directory in _groups(root, "memory"):
        used = _group_usage(directory, "memory.usage_in_bytes", "total_inactive_file")
        available = min(available, _headroom(directory / "memory.limit_in_bytes", used, default=available))
    return available


def resident_bytes(root: pathlib.Path = SYSTEM_ROOT) -> int:
    """Bytes of this process in memory; of pages that it shares with others, its part (PSS)."""
    for line in _read(root / "proc/self/smaps_rollup").splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    return 0


def _machine_memory_bytes(root: pathlib.Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise OSError("/proc/meminfo has no line MemAvailable")


def _group_usage(directory: pathlib.Path, usage_file: str, cache_field: str) -> int:
    usage = _read(directory / usage_file)
    cache = 0
    for line in _read(directory / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == cache_field:
            cache = int(value)
    return max(0, int(usage) - cache) if usage.isdigit() else 0


def _headroom(limit_file: pathlib.Path, used: int, *, default: int) -> int:
    limit = _read(limit_file)
    return max(0, int(limit) - used) if limit.isdigit() else default


def _groups(root: pathlib.Path, controller: str) -> Iterator[pathlib.Path]:
    """This process's group of a v1 controller ("" for v2) and all groups above it, the innermost first.

    Inside a container the path in /proc/self/cgroup may be one that only the host can see: then the group of
    the mount's root, which is there the container's own, is all there is.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        group = pathlib.PurePosixPath(path.lstrip("/"))
        for name in dict.fromkeys((controllers, controller)):
            mount = root / _CGROUPS / name
            if mount.is_dir():
                yield from (mount / part for part in (group, *group.parents) if (mount / part).is_dir())
                break


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
