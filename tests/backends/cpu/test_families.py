"""Every family against Hugging Face transformers in fp32, from config.json and from GGUF; and the native
executor against the reference, on every instruction set."""

import functools
import pathlib

import numpy as np
import pytest
import torch
import transformers

from octavo.backends.base import StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.cpu.library import load_library
from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.sampling_params import SamplingParams
from octavo.models.program import Program
from tests.backends.oracles import Model, Tiny, of_config, of_gguf
from tests.backends.tiny import NUM_BLOCKS, StepMaker

BUILDS = ("portable", "avx2", "avx512", "amx", "amx_emulated")
ISAS = [isa for isa in BUILDS if load_library().octavo_has_isa(isa.encode())]
MAX_ERROR = 0.02  # of the oracle's logit range; where a router is near a tie, rounding to bf16 may exceed it
LENGTH = 70
LIMITS = StepLimits(2, 64, 128)

YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0 + 0.2 * i for i in range(6)],
    "long_factor": [2.0] * 6, "original_max_position_embeddings": 128, "partial_rotary_factor": 0.75,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def llama3_factors(config: transformers.LlamaConfig) -> dict[str, np.ndarray]:
    """What the converter writes instead of the settings: by how much to divide each frequency."""
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    plain = 1.0 / 10000.0 ** (np.arange(8) / 8)
    return {"rope_freqs.weight": (plain / rotary.inv_freq.numpy()).astype(np.float32)}


TINIES = {
    "llama": Tiny("llama", transformers.LlamaForCausalLM, is_permuted=True),
    "llama-biased": Tiny(
        "llama", transformers.LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}, is_permuted=True
    ),
    "llama-3.1": Tiny(
        "llama", transformers.LlamaForCausalLM, {"rope_parameters": LLAMA3}, is_permuted=True,
        gguf_tensors=llama3_factors,
    ),
    "llama-linear": Tiny(
        "llama", transformers.LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, is_permuted=True,
    ),
    "qwen2": Tiny("qwen2", transformers.Qwen2ForCausalLM),
    "qwen2-yarn": Tiny(
        "qwen2", transformers.Qwen2ForCausalLM, {"rope_parameters": YARN, "tie_word_embeddings": True},
        {
            "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
    ),
    "qwen3": Tiny("qwen3", transformers.Qwen3ForCausalLM),
    "mistral": Tiny(
        "mistral", transformers.MistralForCausalLM, {"sliding_window": 20}, {"attention.sliding_window": 20},
        gguf_architecture="llama", is_permuted=True,
    ),
    "granite": Tiny(
        "granite", transformers.GraniteForCausalLM,
        {
            "embedding_multiplier": 6.0, "attention_multiplier": 0.11, "residual_multiplier": 0.22,
            "logits_scaling": 4.0, "tie_word_embeddings": True,
        },
        {"embedding_scale": 6.0, "attention.scale": 0.11, "residual_scale": 0.22, "logit_scale": 4.0},
        is_permuted=True,
    ),
    "olmo2": Tiny("olmo2", transformers.Olmo2ForCausalLM, {"rms_norm_eps": 1e-5}),
    "smollm3": Tiny(
        "smollm3", transformers.SmolLM3ForCausalLM,
        {"num_hidden_layers": 5, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        is_permuted=True,
    ),
    "gemma2": Tiny(
        "gemma2", transformers.Gemma2ForCausalLM,
        {
            "sliding_window": 20, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0, "tie_word_embeddings": True,
        },
        {
            "attention.sliding_window": 20, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
        },
        norm_offset=1.0,
    ),
    "gemma3": Tiny(
        "gemma3", transformers.Gemma3ForCausalLM,
        {
            "sliding_window": 20, "query_pre_attn_scalar": 16, "num_hidden_layers": 7,
            "tie_word_embeddings": True, "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0},
            },
        },
        {
            "attention.sliding_window": 20, "rope.freq_base_swa": 1000.0, "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        norm_offset=1.0,
    ),
    "phi3": Tiny(
        "phi3", transformers.Phi3ForCausalLM, {"sliding_window": 20, "rms_norm_eps": 1e-5},
        {"attention.sliding_window": 20},
    ),
    "phi3-longrope": Tiny(
        "phi3", transformers.Phi3ForCausalLM,
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 128, "rms_norm_eps": 1e-5},
        {
            "rope.scaling.type": "longrope", "rope.scaling.attn_factor": (1 + 2 / 7) ** 0.5,
            "rope.scaling.original_context_length": 128, "rope.dimension_count": 12,
        },
        gguf_tensors=lambda config: {
            f"rope_factors_{kind}.weight": np.array(LONGROPE[f"{kind}_factor"], np.float32)
            for kind in ("short", "long")
        },
    ),
    "mixtral": Tiny(
        "mixtral", transformers.MixtralForCausalLM,
        {
            "num_local_experts": 5, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        {"expert_count": 5, "expert_used_count": 2}, gguf_architecture="llama", is_permuted=True,
    ),
    "qwen3-moe": Tiny(
        "qwen3moe", transformers.Qwen3MoeForCausalLM,
        {
            "num_experts": 20, "num_experts_per_tok": 3, "moe_intermediate_size": 48,
            "norm_topk_prob": True,
        },
        {"expert_count": 20, "expert_used_count": 3, "expert_feed_forward_length": 48},
    ),
}  # fmt: skip
# What a GGUF file cannot say.
CONFIG_ONLY = {
    "qwen3-moe-mixed": Tiny(
        "qwen3moe", transformers.Qwen3MoeForCausalLM,
        {
            "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 48,
            "norm_topk_prob": False, "decoder_sparse_step": 2,
        },
    ),
    "qwen2-windows": Tiny(
        "qwen2", transformers.Qwen2ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1, "num_hidden_layers": 3},
    ),
    "qwen3-windows": Tiny(
        "qwen3", transformers.Qwen3ForCausalLM,
        {
            "use_sliding_window": True, "sliding_window": 24, "attention_bias": True,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
}  # fmt: skip


@functools.cache
def oracle_of(name: str) -> tuple[transformers.PreTrainedModel, list[int], np.ndarray]:
    """The model, a text, and the logits of all its rows."""
    oracle = (TINIES | CONFIG_ONLY)[name].oracle()
    token_ids = np.random.default_rng(0).integers(0, 256, LENGTH).tolist()
    with torch.no_grad():
        return oracle, token_ids, oracle(torch.tensor([token_ids])).logits[0].numpy()


def logits(backend: CpuBackend | ReferenceBackend, program: Program, token_ids: list[int]) -> np.ndarray:
    """After 30 and after all tokens, computed in three chunks and, at first, beside another request."""
    windows = [group.window for group in program.kv_groups]
    maker = StepMaker({0: token_ids, 1: token_ids[:30]}, SamplingParams(temperature=0), windows)
    found = []
    for counts in ({0: 33, 1: 30}, {0: 36}, {0: 1}):
        output = backend.collect(backend.submit(maker.step(counts)))
        count = len(output.token)
        is_reference = isinstance(backend, ReferenceBackend)
        found.append(backend.buffers["logits"] if is_reference else backend.buffer("logits", count))
    backend.close()
    return np.concatenate(found)


def check(model: Model, name: str, isas: list[str]) -> None:
    """Near the oracle, and equal to the reference to the bit."""
    program, tensors = model
    _, token_ids, theirs = oracle_of(name)
    exact = logits(ReferenceBackend(program, tensors, LIMITS, NUM_BLOCKS), program, token_ids)
    assert np.abs(exact - theirs[[29, LENGTH - 1]]).max() <= MAX_ERROR * (theirs.max() - theirs.min())
    for isa in isas:
        native = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2, isa=isa)
        np.testing.assert_array_equal(
            logits(native, program, token_ids).view(np.uint32), exact.view(np.uint32), err_msg=isa
        )


@pytest.mark.parametrize("name", [*TINIES, *CONFIG_ONLY])
def test_a_config_and_its_checkpoint(name: str, tmp_path: pathlib.Path) -> None:
    check(of_config(oracle_of(name)[0], tmp_path), name, ISAS)


@pytest.mark.parametrize("name", TINIES)
def test_a_gguf_file(name: str, tmp_path: pathlib.Path) -> None:
    """The same weights under llama.cpp's names."""
    tiny = TINIES[name]
    check(of_gguf(tiny, oracle_of(name)[0], tmp_path), name, ISAS[-1:])


@pytest.mark.parametrize("name", [name for name, tiny in TINIES.items() if not tiny.is_permuted])
def test_both_forms_give_the_same_bits(name: str, tmp_path: pathlib.Path) -> None:
    """Where a GGUF file keeps the rows of q and k as they are."""
    oracle, token_ids, _ = oracle_of(name)
    by_form = []
    for program, tensors in (of_config(oracle, tmp_path), of_gguf(TINIES[name], oracle, tmp_path)):
        backend = CpuBackend(program, tensors, LIMITS, NUM_BLOCKS, num_threads=2)
        by_form.append(logits(backend, program, token_ids))
    np.testing.assert_array_equal(*(found.view(np.uint32) for found in by_form))
