from octavo.core.fingerprint import variant_fingerprint


def test_each_model_and_each_way_to_compute_it_has_its_own() -> None:
    models, ways = ("ab" * 16, "cd" * 16), ("KV int8", "activations int8")
    found = {variant_fingerprint(model, way) for model in models for way in ways}
    assert len({*found, *models}) == 6
    assert {len(bytes.fromhex(one)) for one in found} == {16}


def test_it_is_what_it_was() -> None:
    """Streams go on only between equals, of whatever version."""
    assert variant_fingerprint("ab" * 4, "KV int8") == "5da3a19b"
