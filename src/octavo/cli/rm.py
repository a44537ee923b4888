"""`octavo rm`: takes models off the disk, having asked."""

import pkgutil
import sys
from typing import Annotated

from cyclopts import Parameter

from octavo.cli.tables import size
from octavo.config import Environment
from octavo.core.errors import StartError
from octavo.models.store import remove, stored_model


def rm(*models: str, yes: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Remove models from this disk; asks first.

    Parameters
    ----------
    models
        Names as `octavo list` prints them.
    yes
        Do not ask.
    """
    if not models:
        raise StartError("octavo rm needs the name of a model; `octavo list` prints them.")
    home = Environment.read().home
    named = (stored_model(name, home) for name in models)
    found = {model.name: model for model in named}.values()  # each once, under whatever names
    if not yes and not sys.stdin.isatty():
        raise StartError("octavo rm asks before it removes; without a terminal, say --yes.")
    packed = pkgutil.resolve_name("octavo.weights.repacked:RepackedFiles").of_home(home)
    for model in found:
        if not yes and not _confirm(f"Remove {model.name} ({size(model.num_bytes)})? [y/N] "):
            return 1
        kept = packed.remove_of(path.resolve() for path in model.paths)
        remove(model, home)
        also = f", and {size(kept)} of its packed weights" if kept else ""
        print(f"removed {model.name}, {size(model.num_bytes)}{also}")
    return 0


def _confirm(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False
