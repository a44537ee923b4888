from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorSlice
from octavo.models.families import phi3
from octavo.models.loading import part_shapes
from octavo.models.lowering import lower
from tests.models.families.test_llama import CONFIG, GGUF, TENSORS

METADATA = {key.replace("llama", "phi3"): value for key, value in GGUF.items()}
LONGROPE = {
    "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 32,
}  # fmt: skip


def test_parts_are_rows_of_fused_tensors() -> None:
    arch = phi3.architecture_of_config(ModelMetadata("config.json", CONFIG))
    names = phi3.config_names(arch)
    assert names.keys() == part_shapes(lower(arch)).keys()
    qkv, gate_up = "model.layers.1.self_attn.qkv_proj.weight", "model.layers.1.mlp.gate_up_proj.weight"
    assert names["layers.1.q"] == TensorSlice(qkv, 0, 32)
    assert names["layers.1.k"] == TensorSlice(qkv, 32, 16)
    assert names["layers.1.v"] == TensorSlice(qkv, 48, 16)
    assert names["layers.1.up"] == TensorSlice(gate_up, 48, 48)
    assert names["layers.1.o"] == "model.layers.1.self_attn.o_proj.weight"
    assert phi3.gguf_names(arch)["layers.0.gate"] == TensorSlice("blk.0.ffn_up.weight", 0, 48)


def test_longrope_ends_the_context_where_the_short_factors_do() -> None:
    config = ModelMetadata("config.json", CONFIG | {"rope_scaling": LONGROPE})
    assert phi3.architecture_of_config(config).max_position == 32
    scaling = {"phi3.rope.scaling.type": "longrope", "phi3.rope.scaling.original_context_length": 32}
    tensors = (*TENSORS, "rope_factors_short.weight", "rope_factors_long.weight")
    arch = phi3.architecture_of_gguf(ModelMetadata("m.gguf", METADATA | scaling), tensors)
    assert arch.max_position == 32
    names = phi3.gguf_names(arch)
    assert names["rope_factors"] == "rope_factors_short.weight"
    assert "rope_factors_long.weight" in names.values()


def test_a_window_for_every_layer() -> None:
    config = ModelMetadata("config.json", CONFIG | {"sliding_window": 64})
    assert [kind.window for kind in phi3.architecture_of_config(config).kinds_used] == [64, 64]
