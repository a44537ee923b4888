"""What linear layers multiply weights by that are stored as integers; docs/exactness.md defines how."""

import enum

from octavo.core.fingerprint import variant_fingerprint


class ActivationDType(enum.StrEnum):
    BF16 = "bf16"
    INT8 = "int8"  # digits, and a unit for every 32 numbers of a row

    def fingerprint(self, model: str) -> str:
        """Of a model (hex) that is computed so: as long, and for BF16 the model's own."""
        if self is ActivationDType.BF16:
            return model
        return variant_fingerprint(model, f"activations {self.value}")
