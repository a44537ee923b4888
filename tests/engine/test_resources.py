import pathlib

import pytest

from octavo.engine.resources import available_cores, available_memory_bytes

MIB = 1 << 20
V2 = "0::/pod/container\n"
V1 = "12:cpuset:/d/c\n4:cpu,cpuacct:/d/c\n3:memory:/d/c\n"


def make_tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    files = {"proc/meminfo": "MemTotal: 9000000 kB\nMemAvailable:    8192000 kB\n"} | files
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v2(group: str, **files: str) -> dict[str, str]:
    return {f"sys/fs/cgroup/{group}{name.replace('_', '.', 1)}": text + "\n" for name, text in files.items()}


CORES = {
    "no cgroup": ({}, 8),
    "v2 without a limit": ({"proc/self/cgroup": V2} | v2("pod/container/", cpu_max="max 100000"), 8),
    "v2 quota": ({"proc/self/cgroup": V2} | v2("pod/container/", cpu_max="350000 100000"), 3),
    "v2 quota of a parent": ({"proc/self/cgroup": V2} | v2("pod/", cpu_max="200000 100000"), 2),
    "v2 below one core": ({"proc/self/cgroup": V2} | v2("pod/container/", cpu_max="50000 100000"), 1),
    "v2 in a container": ({"proc/self/cgroup": "0::/\n"} | v2("", cpu_max="400000 100000"), 4),
    "v2 with the host's path": ({"proc/self/cgroup": V2} | v2("", cpu_max="400000 100000"), 4),
    "v2 cpuset": ({"proc/self/cgroup": V2} | v2("pod/container/", cpuset_cpus_effective="0-2,7"), 4),
    "v1 quota": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu,cpuacct/d/c/cpu.cfs_quota_us": "600000\n",
            "sys/fs/cgroup/cpu,cpuacct/d/c/cpu.cfs_period_us": "100000\n",
        },
        6,
    ),
    "v1 without a limit": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
    ),
    "v1 cpuset": ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpuset/d/cpuset.effective_cpus": "1,3,5\n"}, 3),
}


@pytest.mark.parametrize("case", CORES)
def test_cores(tmp_path: pathlib.Path, case: str) -> None:
    files, cores = CORES[case]
    files = {
        name.replace("cpuset.cpus_effective", "cpuset.cpus.effective"): text for name, text in files.items()
    }
    assert available_cores(make_tree(tmp_path, files), affinity=8) == cores


def test_affinity_is_a_limit_too(tmp_path: pathlib.Path) -> None:
    files = {"proc/self/cgroup": V2} | v2("pod/container/", cpu_max="600000 100000")
    assert available_cores(make_tree(tmp_path, files), affinity=2) == 2


def test_this_machine_answers() -> None:
    assert available_cores() >= 1
    assert available_memory_bytes() > 0


STAT = f"anon 1\ninactive_file {200 * MIB}\nactive_file 7"
MEMORY = {
    "no cgroup": ({}, 8000),
    "v2 without a limit": ({"proc/self/cgroup": V2} | v2("pod/container/", memory_max="max"), 8000),
    "v2 max, less what is used, file cache apart": (
        {"proc/self/cgroup": V2}
        | v2(
            "pod/container/",
            memory_max=str(1000 * MIB),
            memory_current=str(500 * MIB),
            memory_stat=STAT,
        ),
        700,
    ),
    "v2 high comes before max": (
        {"proc/self/cgroup": V2}
        | v2("pod/container/", memory_max=str(1000 * MIB), memory_high=str(600 * MIB)),
        600,
    ),
    "v2 parent": ({"proc/self/cgroup": V2} | v2("pod/", memory_max=str(400 * MIB)), 400),
    "v2 over its limit": (
        {"proc/self/cgroup": V2} | v2("pod/", memory_high=str(400 * MIB), memory_current=str(401 * MIB)),
        0,
    ),
    "v1": (
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/memory/d/c/memory.limit_in_bytes": str(1000 * MIB),
            "sys/fs/cgroup/memory/d/c/memory.usage_in_bytes": str(500 * MIB),
            "sys/fs/cgroup/memory/d/c/memory.stat": f"inactive_file 5\ntotal_inactive_file {100 * MIB}\n",
        },
        600,
    ),
    "v1 without a limit": (
        {"proc/self/cgroup": V1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
        8000,
    ),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory(tmp_path: pathlib.Path, case: str) -> None:
    files, mebibytes = MEMORY[case]
    assert available_memory_bytes(make_tree(tmp_path, files)) == mebibytes * MIB


def test_a_machine_that_does_not_tell_its_memory(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match="MemAvailable"):
        available_memory_bytes(make_tree(tmp_path, {"proc/meminfo": "MemTotal: 1 kB\n"}))
