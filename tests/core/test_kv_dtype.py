from octavo.core.kv_dtype import KVDType


def test_blocks_of_another_kind_of_cache_have_another_identity() -> None:
    model, other = "ab" * 16, "cd" * 16
    assert KVDType.BF16.fingerprint(model) == model
    int8 = KVDType.INT8.fingerprint(model)
    assert len(bytes.fromhex(int8)) == 16
    assert len({model, other, int8, KVDType.INT8.fingerprint(other)}) == 4
