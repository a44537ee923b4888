"""Writes GGUF files byte by byte, right or wrong as a test wants them, and a whole tiny model among them."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import gguf as gguf_library
import numpy as np

from octavo.text.vocabulary import BYTE_ALPHABET
from octavo.weights.formats import Tensor

U16, U32, I32, F32, BOOL, STRING, ARRAY, U64 = 2, 4, 5, 6, 7, 8, 9, 10
_PACK = {U16: "<H", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q"}

CONTROL, ORDINARY = 3, 1
TINY_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(value_type: int, item: Any) -> bytes:
    """A metadata value with its type in front."""
    body = string(item) if value_type == STRING else struct.pack(_PACK[value_type], item)
    return struct.pack("<I", value_type) + body


def array(item_type: int, items: Sequence[Any]) -> bytes:
    body = b"".join(value(item_type, item)[4:] for item in items)
    return struct.pack("<IIQ", ARRAY, item_type, len(items)) + body


def tensor_info(name: str, dimensions: Sequence[int], tensor_type: int, offset: int) -> bytes:
    """dimensions innermost first, as the format has them."""
    packed = struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor_type, offset)
    return string(name) + packed


def gguf(
    metadata: Mapping[str, bytes] | None = None,
    infos: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    num_tensors: int | None = None,
    num_entries: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole file; the counts may be made to lie."""
    metadata = metadata or {}
    head = magic + struct.pack(
        "<IQQ",
        version,
        len(infos) if num_tensors is None else num_tensors,
        len(metadata) if num_entries is None else num_entries,
    )
    head += b"".join(string(key) + encoded for key, encoded in metadata.items()) + b"".join(infos)
    return head + b"\0" * (-len(head) % alignment) + data


def tiny_metadata() -> dict[str, bytes]:
    """A llama of two layers; its tokens are two control tokens, every byte, and two merged ones."""
    tokens = ["<|im_start|>", "<|im_end|>", *BYTE_ALPHABET, "he", "hel"]
    return {
        "general.architecture": value(STRING, "llama"),
        "general.name": value(STRING, "Tiny"),
        "llama.block_count": value(U32, 2),
        "llama.context_length": value(U32, 128),
        "llama.embedding_length": value(U32, 32),
        "llama.feed_forward_length": value(U32, 48),
        "llama.attention.head_count": value(U32, 4),
        "llama.attention.head_count_kv": value(U32, 2),
        "llama.attention.layer_norm_rms_epsilon": value(F32, 1e-5),
        "tokenizer.ggml.model": value(STRING, "gpt2"),
        "tokenizer.ggml.pre": value(STRING, "smollm"),
        "tokenizer.ggml.tokens": array(STRING, tokens),
        "tokenizer.ggml.token_type": array(I32, [CONTROL] * 2 + [ORDINARY] * (len(tokens) - 2)),
        "tokenizer.ggml.merges": array(STRING, ["h e", "he l"]),
        "tokenizer.ggml.eos_token_id": value(U32, 1),
        "tokenizer.chat_template": value(STRING, TINY_TEMPLATE),
    }


def tiny_tensors() -> dict[str, np.ndarray]:
    """float32 by name, [rows, columns], for tiny_metadata's model."""
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (260, 32), "output_norm.weight": (32,)}
    for layer in range(2):
        layer_shapes = {
            "attn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output":
            (32, 32), "ffn_norm": (32,), "ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in layer_shapes.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model_file(
    metadata: Mapping[str, bytes],
    tensors: Mapping[str, np.ndarray],
    blocks: Mapping[str, Tensor] | None = None,
) -> bytes:
    """tensors as F32; of those in blocks these, in their formats."""
    infos, data = [], b""
    for name, array in tensors.items():
        tensor = (blocks or {}).get(name)
        kind = 0 if tensor is None else int(gguf_library.GGMLQuantizationType[tensor.format.label])
        infos.append(tensor_info(name, array.shape[::-1], kind, len(data)))
        content = (array if tensor is None else tensor.data).tobytes()
        data += content + b"\0" * (-len(content) % 32)
    return gguf(metadata, infos, data)
