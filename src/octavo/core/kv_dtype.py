"""What numbers a KV cache holds; docs/exactness.md defines how they are computed with."""

import enum

from octavo.core.fingerprint import variant_fingerprint


class KVDType(enum.StrEnum):
    BF16 = "bf16"
    INT8 = "int8"  # digits, and a unit for each token's K and V of a head

    def fingerprint(self, model: str) -> str:
        """Of a model (hex) whose KV is kept so: as long, and for BF16 the model's own."""
        if self is KVDType.BF16:
            return model
        return variant_fingerprint(model, f"KV {self.value}")
