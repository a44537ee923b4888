"""`make soak-router`: requests to a router whose replicas are killed, removed and added.

Exit code 1 if anything is wrong.
"""

import argparse
import asyncio
import pathlib
import sys
import tempfile
import time

from tests.soak.report import Check
from tests.soak.router.processes import ReplicaProcess, RouterProcess
from tests.soak.router.run import Plan, RouterSoak
from tools.router_overhead.proxies import free_port

NUM_REPLICAS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak-router", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, metavar="N")
    parser.add_argument("--disturb-every", type=int, default=1000, metavar="N", help="requests")
    parser.add_argument("--concurrency", type=int, default=32, metavar="N", help="requests at the same time")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    plan = Plan(arguments.requests, arguments.disturb_every, arguments.concurrency, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="octavo-router-soak-") as folder:
        start = time.monotonic()
        checks, soak = run(plan, pathlib.Path(folder))
    print(f"{plan.num_requests:,} requests in {time.monotonic() - start:.0f} s: {dict(soak.by_fate)}")
    for check in checks:
        print(check)
    return 0 if all(check.is_well for check in checks) else 1


def run(plan: Plan, folder: pathlib.Path) -> tuple[list[Check], RouterSoak]:
    replicas = [ReplicaProcess(free_port()) for _ in range(NUM_REPLICAS)]
    try:
        router = RouterProcess(folder)
        soak = RouterSoak(plan, router, replicas, lambda line: print(line, file=sys.stderr, flush=True))
        try:
            checks = asyncio.run(soak.run())
        finally:
            exit_code = router.stop()
    finally:
        for replica in replicas:
            replica.kill()
    return [*checks, Check("end", exit_code == 0, f"exit code {exit_code} after SIGTERM")], soak


if __name__ == "__main__":
    sys.exit(main())
