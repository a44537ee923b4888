"""What a decoder-only transformer is, as numbers: one frozen record, filled by a family.

Knows nothing of files, tensors' bytes or back ends. `program.py` lowers it to ops.
"""

import dataclasses
import enum


class RopePairing(enum.StrEnum):
    """Which two dimensions of a head rotate together."""

    INTERLEAVED = "interleaved"  # (0, 1), (2, 3) ...: llama GGUF files store q and k permuted for this
    HALVES = "halves"  # (0, d/2), (1, d/2 + 1) ...: Hugging Face checkpoints, qwen2 and gemma3 GGUF files


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """A dense decoder: pre-norm attention and gated MLP, both added to the residual stream."""

    family: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    max_position: int  # the context the model was trained for, in tokens
    norm_epsilon: float
    rope_base: float
    rope_pairing: RopePairing
    is_embedding_tied: bool  # the output head is the token embedding

    @property
    def num_parameters(self) -> int:
        """Weights of matrices and norms."""
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.ffn_size + 2 * self.hidden_size
        num_embeddings = 1 if self.is_embedding_tied else 2
        return self.num_layers * layer + self.hidden_size * (1 + num_embeddings * self.vocab_size)
