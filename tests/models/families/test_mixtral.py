import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.core.tensor_slice import TensorSlice
from octavo.models.architecture import Experts
from octavo.models.families import llama, mixtral
from octavo.models.loading import part_shapes
from octavo.models.lowering import lower
from tests.models.families.test_llama import CONFIG, GGUF, TENSORS


def test_every_layer_has_experts() -> None:
    arch = mixtral.architecture_of_config(ModelMetadata("config.json", CONFIG | {"sliding_window": 64}))
    assert arch.family == "mixtral"
    assert arch.experts == Experts(8, 2, 48, is_normalized=True)
    assert [(kind.has_experts, kind.window) for kind in arch.kinds_used] == [(True, 64)] * 2
    names = mixtral.config_names(arch)
    assert names.keys() == part_shapes(lower(arch)).keys()
    prefix = "model.layers.1.block_sparse_moe."
    assert names["layers.1.router"] == prefix + "gate.weight"
    assert names["layers.1.experts.7.up"] == prefix + "experts.7.w3.weight"


def test_gguf_files_stack_the_experts() -> None:
    metadata = ModelMetadata("m.gguf", GGUF | {"llama.expert_count": 4, "llama.expert_used_count": 2})
    names = llama.gguf_names(llama.architecture_of_gguf(metadata, TENSORS))
    assert names["layers.1.router"] == "blk.1.ffn_gate_inp.weight"
    assert names["layers.0.experts.3.gate"] == TensorSlice("blk.0.ffn_gate_exps.weight", 144, 48)
    assert names["layers.0.experts.2.down"] == TensorSlice("blk.0.ffn_down_exps.weight", 64, 32)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_experts_per_tok": 9}, "9 experts per token; allowed: 1 to 8"),
        ({"num_local_experts": 2000}, "2000 experts; at most 1024"),
    ],
)
def test_impossible_numbers_of_experts_are_refused(settings: dict[str, int], complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        mixtral.architecture_of_config(ModelMetadata("config.json", CONFIG | settings))
