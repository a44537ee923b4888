"""Writes safetensors files byte by byte, right or wrong as a test wants them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16"}


def entry(dtype: str, shape: Any, begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """header: a value for JSON, or bytes as they are; length: what the file claims of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def safetensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """uint16 arrays hold bits of BF16."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = entry(_DTYPES[tensor.dtype.name], list(tensor.shape), start, end)
    return raw(header, b"".join(tensor.tobytes() for tensor in tensors.values()))
