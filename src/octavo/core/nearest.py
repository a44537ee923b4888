"""What somebody meant who has misspelt it."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """The known one that is most like word; similarity: at least, of 1 (difflib's ratio)."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=similarity)), None)
