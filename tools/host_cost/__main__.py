"""What Python costs around the kernels, in CPU time: it says the same whatever else the machine does.

.venv/bin/python -m tools.host_cost engine --requests 1 8 64 256
"""

import argparse

from tools.host_cost.engine import measure


def engine(options: argparse.Namespace) -> None:
    for is_cold in (True, False):
        print(f"microseconds of a step, caches {'cold' if is_cold else 'warm'}")
        print(f"{'requests':>9}{'schedule':>10}{'call':>10}{'update':>10}{'frame':>10}{'step':>10}")
        for count in options.requests:
            cost = measure(count, options.batches, is_cold=is_cold)
            values = (cost.schedule, cost.call, cost.update, cost.frame, cost.total)
            print(f"{count:>9}" + "".join(f"{value:>10.0f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.host_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("engine", help="a step that decodes: schedule, native call, update, frame")
    command.add_argument("--requests", type=int, nargs="+", default=[1, 8, 64, 256])
    command.add_argument("--batches", type=int, default=15, help="of 20 steps; the least is printed")
    command.set_defaults(run=engine)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
