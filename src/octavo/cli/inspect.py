"""`octavo inspect`: what a model is and what it computes, op by op. description.py says it."""

import pkgutil

from octavo.models.catalog import SMOLLM2


def inspect(model: str = SMOLLM2.name, /) -> None:
    """Print a model's numbers, weight formats, memory, tokenizer and program.

    Parameters
    ----------
    model
        As `octavo serve` takes it, or a Hugging Face config.json: then all that needs no weights.
    """
    describe = pkgutil.resolve_name("octavo.cli.description:describe")
    print("\n".join(describe(model, has_program=True)))
