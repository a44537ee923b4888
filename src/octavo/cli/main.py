"""The `octavo` command: names its subcommands, turns a user's errors into one sentence and an exit code.

A subcommand's module is imported when it runs, so that `octavo --help` answers at once.
"""

import os
import select
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import cyclopts
from cyclopts import Parameter
from cyclopts.exceptions import CycloptsError

from octavo import __version__
from octavo.cli.conversion import convert
from octavo.cli.entry import EXIT_INTERRUPTED
from octavo.cli.help import ColumnFormatter
from octavo.cli.mistakes import sentence_of
from octavo.core.errors import OctavoError
from octavo.core.fitting import fitted

EXIT_USER_ERROR = 2
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
_SPEAKER = "octavo: "

# Name: where it is, its arguments (None: it says so itself), and what it does. In the order of --help.
COMMANDS = {
    "run": ("run:run", None, "Chat with a model in the terminal, or answer one prompt."),
    "serve": ("serve:serve", None, "Serve a model over an OpenAI-compatible API."),
    "up": ("up:up", None, "Start a router and several engines on this machine."),
    "route": ("route:route", None, "Route requests to several servers."),
    "bench": ("bench:bench", None, "Measure the engine, a server, or other engines beside it."),
    "pull": ("pull:pull", "[MODEL]", "Fetch a model, by name or from a hub."),
    "list": ("list:list_models", "", "List the models on this disk, and those known by name."),
    "show": ("show:show", "[MODEL]", "Print what a model is, and the memory it takes."),
    "inspect": ("inspect:inspect", "[MODEL]", "Print that, and a model's program, op by op."),
    "rm": ("rm:rm", "MODEL...", "Remove models from this disk."),
    "keys": ("keys:keys", None, "Make keys of the API."),
    "doctor": ("doctor:doctor", "", "Say what this machine has, and what octavo will use."),
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
        default_parameter=Parameter(converter=convert),
    )
    for index, (name, (place, arguments, text)) in enumerate(COMMANDS.items()):
        own: dict[str, Any] = {}
        if arguments is not None:
            own = {"usage": f"octavo {name} {arguments}".rstrip(), "group_parameters": "Options"}
        app.command(f"octavo.cli.{place}", name=name, help=text, sort_key=index, **own)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `octavo` with arguments (default: the process's own) and return its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    try:
        result = build_app()(tokens)
        sys.stdout.flush()
    except (OctavoError, CycloptsError) as error:
        text = sentence_of(error) if isinstance(error, CycloptsError) else str(error)
        print(fitted(f"{_SPEAKER}{text}", len(_SPEAKER), sys.stderr), file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        if not _is_unread(sys.stdout):
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nothing more is said, at exit neither
        return EXIT_BROKEN_PIPE
    return result if isinstance(result, int) else 0


def _is_unread(out: TextIO) -> bool:
    """It is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(out, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
