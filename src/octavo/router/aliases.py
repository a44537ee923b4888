"""Other names for models. A name may stand for several, each for its share of the requests: a canary.

Who gets which is drawn from the session, or else from the request itself, so the same one always goes to the
same model, whichever router draws.
"""

import bisect
import itertools
from collections.abc import Callable, Collection, Mapping

import xxhash

Shares = Mapping[str, float]  # of each model, in any unit


class Aliases:
    """A name that is none stands for itself. An alias may be the name of one of its models."""

    def __init__(self, shares: Mapping[str, Shares] | None = None) -> None:
        """By alias."""
        self._shares = dict(shares or {})

    def resolve(self, name: str, key: Callable[[], bytes], is_served: Callable[[str], bool]) -> str:
        """The model that is meant. key: what the draw depends on. A model that nobody serves now is left out,
        unless nobody serves any."""
        shares = self._shares.get(name)
        if shares is None:
            return name
        if len(shares) == 1:
            return next(iter(shares))
        meant = {model: share for model, share in shares.items() if share}
        served = {model: share for model, share in meant.items() if is_served(model)}
        return _draw(served or meant, xxhash.xxh3_64_intdigest(name.encode() + b" " + key()) / 2**64)

    def shown(self, served: Collection[str]) -> dict[str, str]:
        """By alias, the one of these models that has the largest share."""
        found = {}
        for alias, shares in self._shares.items():
            models = [model for model in shares if model in served]
            if models:
                found[alias] = max(models, key=shares.__getitem__)
        return found


def _draw(shares: Shares, fraction: float) -> str:
    """fraction: from 0 to below 1."""
    bounds = list(itertools.accumulate(shares.values()))
    return list(shares)[min(bisect.bisect(bounds, fraction * bounds[-1]), len(bounds) - 1)]
