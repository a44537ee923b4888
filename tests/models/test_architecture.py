from octavo.models.architecture import Architecture, LayerKind
from octavo.models.lowering import lower
from octavo.models.rotary import Rope, RopePairing

SMOLLM2 = Architecture(
    family="llama", num_layers=30, hidden_size=576, num_heads=9, num_kv_heads=3, head_dim=64, ffn_size=1536,
    vocab_size=49152, max_position=8192, norm_epsilon=1e-5, is_embedding_tied=True,
    layer_kinds=(LayerKind(Rope(1e5, RopePairing.INTERLEAVED, 64)),),
)  # fmt: skip


def test_smollm2_has_its_135_million_parameters() -> None:
    assert lower(SMOLLM2).num_parameters == 134_515_008


def test_layer_kinds_repeat() -> None:
    rope = SMOLLM2.layer_kinds[0].rope
    kinds = (LayerKind(rope, 128), LayerKind(rope), LayerKind(None))
    arch = Architecture("x", 5, 64, 4, 2, 16, 128, 300, 512, 1e-6, layer_kinds=kinds, is_embedding_tied=True)
    assert arch.kinds_used == (*kinds, kinds[0], kinds[1])
    assert arch.score_scale == 0.25
