"""`octavo pull`: has a model on disk before it is needed, and says where."""

from octavo.config import Environment
from octavo.models.catalog import SMOLLM2
from octavo.models.source import pull as pull_model


def pull(model: str = SMOLLM2.name, /) -> None:
    """Fetch a model unless it is there, and print its path. One of a hub is brought up to date.

    Parameters
    ----------
    model
        A name `octavo list` knows, or a hub's org/name, with :FILE or :QUANTIZATION and @REVISION if need be.
    """
    print(pull_model(model, Environment.read().home))
