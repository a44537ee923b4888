"""What Python costs around the kernels, in CPU time: it says the same whatever else the machine does.

.venv/bin/python -m tools.host_cost engine --requests 1 8 64 256
.venv/bin/python -m tools.host_cost server --streams 256 --tokens 256
"""

import argparse

from tools.host_cost.engine import measure
from tools.host_cost.server import served

OPTIONS = ("--max-num-seqs", "256", "--max-num-batched-tokens", "2048")
KEPT_UP_SECONDS = 0.03  # of a step: a server of so many streams has nothing to do in between


def engine(options: argparse.Namespace) -> None:
    for is_cold in (True, False):
        print(f"microseconds of a step, caches {'cold' if is_cold else 'warm'}")
        print(f"{'requests':>9}{'schedule':>10}{'call':>10}{'update':>10}{'frame':>10}{'step':>10}")
        for count in options.requests:
            cost = measure(count, options.batches, is_cold=is_cold)
            values = (cost.schedule, cost.call, cost.update, cost.frame, cost.total)
            print(f"{count:>9}" + "".join(f"{value:>10.0f}" for value in values), flush=True)


def server(options: argparse.Namespace) -> None:
    """The cost of a token is what a request of many tokens costs more than one of one token."""
    num_requests, num_tokens, path = 2 * options.streams, options.tokens, options.path
    reader = options.reader
    load = f"{options.streams} streams of {num_tokens} tokens, {path}, read by a {reader}"
    print(f"microseconds of the server process, {load}")
    print(f"{'':<22}{'a request':>11}{'a token':>9}{'whole':>8}{'tokens/s of a core':>20}{'bytes/token':>13}")
    for name, seconds in (("one event a token", KEPT_UP_SECONDS), ("at full speed", 0.0)):
        with served(seconds, *OPTIONS) as process:
            process.load(options.streams, num_requests, 1, path, reader)
            short = process.load(options.streams, num_requests, 1, path, reader)
            long = process.load(options.streams, num_requests, num_tokens, path, reader)
        token = (long.server_seconds - short.server_seconds) / (long.num_tokens - short.num_tokens)
        print(
            f"{name:<22}{1e6 * short.server_seconds / num_requests:>11.0f}{1e6 * token:>9.1f}"
            f"{1e6 * long.server_seconds / long.num_tokens:>8.1f}"
            f"{long.num_tokens / long.server_seconds:>20,.0f}{long.num_bytes / long.num_tokens:>13.0f}",
            flush=True,
        )


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
    command = commands.add_parser("server", help="a request and a token in the server process")
    command.add_argument("--streams", type=int, default=256)
    command.add_argument("--tokens", type=int, default=256)
    command.add_argument("--path", default="/v1/chat/completions")
    command.add_argument("--reader", choices=("client", "router", "channel"), default="client")
    command.set_defaults(run=server)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
