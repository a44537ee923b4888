"""`octavo show`: what a model is, where it lies, under which licence, and the memory it takes."""

import pkgutil
import sys
from collections.abc import Iterable

from octavo.cli.tables import size
from octavo.config import Environment
from octavo.core.errors import ModelFileError
from octavo.core.fitting import fitted
from octavo.models.catalog import SMOLLM2
from octavo.models.store import stored_model

_LABEL_WIDTH = 14


def show(model: str = SMOLLM2.name, /) -> None:
    """Print what a model is, and the memory it takes; it is fetched first if need be.

    Parameters
    ----------
    model
        As `octavo serve` takes it.
    """
    describe = pkgutil.resolve_name("octavo.cli.description:describe")
    text = "\n".join((*describe(model, has_program=False), *_stored_lines(model)))
    print(fitted(text, _LABEL_WIDTH + 1, sys.stdout))


def _stored_lines(model: str) -> Iterable[str]:
    """What the folder of models knows of one of its own."""
    try:
        stored = stored_model(model, Environment.read().home)
    except ModelFileError:
        return  # a path
    yield f"{'licence':<{_LABEL_WIDTH}} {stored.licence or 'not told'}"
    yield f"{'on disk':<{_LABEL_WIDTH}} {size(stored.num_bytes)}, {stored.format}"
