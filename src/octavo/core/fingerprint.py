"""What tells apart models whose answers, or KV blocks, may differ."""

import hashlib


def variant_fingerprint(model: str, variant: str) -> str:
    """Of a model (hex) that is computed in another way: as long as the model's own."""
    return hashlib.sha256(f"{model} {variant}".encode()).hexdigest()[: len(model)]
