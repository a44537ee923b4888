"""A llama of one layer as a Hugging Face checkpoint: its config, and its tensors in half precision."""

import numpy as np

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"},
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 267,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}


def checkpoint_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    layer = {
        "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
        "self_attn.o_proj": (32, 32), "mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32), "mlp.down_proj":
        (32, 48), "input_layernorm": (32,), "post_attention_layernorm": (32,),
    }  # fmt: skip
    shapes = {"model.embed_tokens.weight": (267, 32), "model.norm.weight": (32,), "lm_head.weight": (267, 32)}
    shapes |= {f"model.layers.0.{name}.weight": shape for name, shape in layer.items()}
    return {name: rng.normal(size=shape).astype(np.float16) for name, shape in shapes.items()}
