from octavo.core.activation_dtype import ActivationDType
from octavo.core.kv_dtype import KVDType


def test_a_model_computed_otherwise_has_another_identity() -> None:
    model, other = "ab" * 16, "cd" * 16
    assert ActivationDType.BF16.fingerprint(model) == model
    int8 = ActivationDType.INT8.fingerprint(model)
    assert len(bytes.fromhex(int8)) == 16
    both = ActivationDType.INT8.fingerprint(KVDType.INT8.fingerprint(model))
    others = {model, other, KVDType.INT8.fingerprint(model), ActivationDType.INT8.fingerprint(other)}
    assert len({int8, both, *others}) == 6
