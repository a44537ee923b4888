"""Refuses an Architecture whose numbers cannot be computed with, whatever file they came from."""

import math

from octavo.core.errors import ModelFileError
from octavo.models.architecture import Architecture

_MAX_LAYERS = 1000


def checked(source: str, arch: Architecture) -> Architecture:
    """arch itself. Raises ModelFileError."""
    if arch.num_layers > _MAX_LAYERS:
        raise ModelFileError(f"{source}: {arch.num_layers} layers; at most {_MAX_LAYERS}.")
    if arch.num_heads % arch.num_kv_heads:
        raise ModelFileError(
            f"{source}: {arch.num_heads} query heads cannot share {arch.num_kv_heads} key-value heads evenly."
        )
    if arch.head_dim % 2:
        raise ModelFileError(f"{source}: heads are {arch.head_dim} wide; rotation needs an even width.")
    bases = [("rope base", kind.rope.base) for kind in arch.layer_kinds if kind.rope is not None]
    for name, value in (("norm epsilon", arch.norm_epsilon), *bases):
        if not (value > 0 and math.isfinite(value)):
            raise ModelFileError(f"{source}: the {name} is {value}; allowed: finite numbers above 0.")
    return arch
