"""Refuses an Architecture whose numbers cannot be computed with, whatever file they came from."""

import math

from octavo.core.errors import ModelFileError
from octavo.models.architecture import Architecture, Experts

_MAX_LAYERS = 1000
_MAX_CONTEXT = 1 << 30  # tokens: their number has 32 bits
_MAX_EXPERTS = 1024
_MAX_EXPERTS_PER_TOKEN = 64  # csrc/capi.h


def checked(source: str, arch: Architecture) -> Architecture:
    """arch itself. Raises ModelFileError."""
    if arch.num_layers > _MAX_LAYERS:
        raise ModelFileError(f"{source}: {arch.num_layers} layers; at most {_MAX_LAYERS}.")
    if arch.max_position > _MAX_CONTEXT:
        raise ModelFileError(f"{source}: a context of {arch.max_position} tokens; at most {_MAX_CONTEXT}.")
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


def checked_rotation(source: str, arch: Architecture) -> Architecture:
    """arch itself, all layers of which are known. Raises ModelFileError."""
    for rope in (kind.rope for kind in arch.layer_kinds if kind.rope is not None):
        try:
            is_sound = all(map(math.isfinite, (rope.attention_factor, *rope.frequencies())))
        except (ArithmeticError, ValueError):
            is_sound = False
        if not is_sound:
            raise ModelFileError(f"{source}: its rotary settings give no frequencies: {rope}.")
    return arch


def checked_experts(source: str, experts: Experts) -> Experts:
    """experts itself. Raises ModelFileError."""
    if experts.count > _MAX_EXPERTS:
        raise ModelFileError(f"{source}: {experts.count} experts; at most {_MAX_EXPERTS}.")
    most = min(experts.count, _MAX_EXPERTS_PER_TOKEN)
    if not 1 <= experts.per_token <= most:
        raise ModelFileError(f"{source}: {experts.per_token} experts per token; allowed: 1 to {most}.")
    return experts
