"""The `octavo` command: names its subcommands, turns a user's errors into one sentence and an exit code.

A subcommand's module is imported when it runs, so that `octavo --help` answers at once.
"""

import sys
from collections.abc import Sequence

import cyclopts
from cyclopts.exceptions import CycloptsError

from octavo import __version__
from octavo.cli.help import ColumnFormatter
from octavo.core.errors import OctavoError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

COMMANDS_ON_A_MODEL = {
    "inspect": "Print a model's program and memory plan.",
    "pull": "Fetch the built-in model.",
}


def build_app() -> cyclopts.App:
    """The command tree, none of whose commands is imported yet."""
    app = cyclopts.App(
        name="octavo",
        help="An LLM serving system: exact, instant to start, and as fast as the machine.",
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        help_format="plaintext",  # rich's tables cost a third of `--help`'s time
        help_formatter=ColumnFormatter(),
        suppress_keyboard_interrupt=False,
    )
    app.command("octavo.cli.serve:serve", name="serve", help="Serve a model over an OpenAI-compatible API.")
    app.command("octavo.cli.route:route", name="route", help="Route requests to several servers.")
    for name, text in COMMANDS_ON_A_MODEL.items():
        app.command(f"octavo.cli.{name}:{name}", name=name, help=text, usage=f"octavo {name} [MODEL]")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `octavo` with arguments (default: the process's own) and return its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = build_app()(tokens)
    except (OctavoError, CycloptsError) as error:
        print(f"octavo: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0
