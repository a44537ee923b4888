"""`octavo pull`: has the built-in model on disk before it is needed, and says where."""

from octavo.config import Environment
from octavo.models.source import SMOLLM2, resolve


def pull(model: str = SMOLLM2.name, /) -> None:
    """Fetch the built-in model unless it is there, and print its path.

    Parameters
    ----------
    model
        The built-in's name; the path of a model file is only checked and printed.
    """
    print(resolve(model, Environment.read().home))
