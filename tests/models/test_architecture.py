from octavo.models.architecture import Architecture, RopePairing


def test_smollm2_has_its_135_million_parameters() -> None:
    arch = Architecture(
        family="llama", num_layers=30, hidden_size=576, num_heads=9, num_kv_heads=3, head_dim=64,
        ffn_size=1536,
        vocab_size=49152, max_position=8192, norm_epsilon=1e-5, rope_base=1e5,
        rope_pairing=RopePairing.INTERLEAVED, is_embedding_tied=True,
    )  # fmt: skip
    assert arch.num_parameters == 134_515_008
