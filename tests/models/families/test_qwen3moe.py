from octavo.core.metadata import ModelMetadata
from octavo.models.architecture import Experts
from octavo.models.families import qwen3moe
from octavo.models.loading import part_shapes
from octavo.models.lowering import lower
from tests.models.families.test_llama import CONFIG

SETTINGS = CONFIG | {
    "num_hidden_layers": 6, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}  # fmt: skip


def read(**settings: object):
    return qwen3moe.architecture_of_config(ModelMetadata("config.json", SETTINGS | settings))


def test_experts_in_all_layers_or_in_some() -> None:
    def with_experts(**settings: object) -> list[int]:
        kinds = read(**settings).kinds_used
        return [layer for layer, kind in enumerate(kinds) if kind.has_experts]

    assert with_experts() == [0, 1, 2, 3, 4, 5]
    assert with_experts(decoder_sparse_step=2) == [1, 3, 5]
    assert with_experts(decoder_sparse_step=2, mlp_only_layers=[3]) == [1, 5]


def test_numbers_of_experts() -> None:
    assert read().experts == Experts(4, 2, 16, is_normalized=False)
    assert read(norm_topk_prob=True).experts == Experts(4, 2, 16, is_normalized=True)
    assert read(num_experts=None, num_local_experts=8).experts.count == 8


def test_names_cover_dense_layers_and_experts() -> None:
    arch = read(mlp_only_layers=[1])
    names = qwen3moe.config_names(arch)
    assert names.keys() == part_shapes(lower(arch)).keys()
    assert names["layers.0.experts.3.down"] == "model.layers.0.mlp.experts.3.down_proj.weight"
    assert names["layers.1.down"] == "model.layers.1.mlp.down_proj.weight"
