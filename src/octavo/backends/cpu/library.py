"""The native library's C ABI: finds the shared object and declares what csrc/capi.h does.

A library that was built from another version of these declarations is refused: its calls would crash.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import pathlib
from typing import Any

from octavo.core.errors import StartError
from octavo.models.ops import MAX_ATTRIBUTE_BYTES

_NAME = "liboctavo.so"
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]
MAX_SEGMENTS = 4

Pointer = ctypes.c_void_p
Int = ctypes.c_int32
Long = ctypes.c_int64


class BufferDesc(ctypes.Structure):
    _fields_ = (
        ("is_per_output", Int),
        ("format", Int),
        ("width", Long),
        ("experts_per_token", Long),
    )


class LinearWeight(ctypes.Structure):
    _fields_ = (("data", Pointer), ("format", Int), ("num_columns", Int), ("depth", Int))


class WeightDesc(ctypes.Structure):
    _fields_ = (("vector", Pointer), ("num_segments", Int), ("segments", LinearWeight * MAX_SEGMENTS))


class KVGroupDesc(ctypes.Structure):
    _fields_ = (("num_layers", Long), ("block_bytes", Long), ("format", Int))


class RopeTableDesc(ctypes.Structure):
    _fields_ = (("frequencies", Pointer), ("attention_factor", ctypes.c_double), ("num_pairs", Long))


class OpDesc(ctypes.Structure):
    _fields_ = (
        ("kind", Int),
        ("input", Int),
        ("routes", Int),
        ("digits", Int),
        ("output", Int),
        ("weight", Int),
        ("bias", Int),
        ("attrs", Long * (MAX_ATTRIBUTE_BYTES // 8)),  # for its alignment; doubles lie in it as bits
    )


class ExecutorDesc(ctypes.Structure):
    _fields_ = (
        ("ops", ctypes.POINTER(OpDesc)),
        ("buffers", ctypes.POINTER(BufferDesc)),
        ("weights", ctypes.POINTER(WeightDesc)),
        ("kv_groups", ctypes.POINTER(KVGroupDesc)),
        ("rope_tables", ctypes.POINTER(RopeTableDesc)),
        ("num_ops", Int),
        ("num_buffers", Int),
        ("num_kv_groups", Int),
        ("num_rope_tables", Int),
        ("vocab_size", Int),
        ("logits_buffer", Int),
        ("max_seqs", Int),
        ("max_tokens", Int),
        ("max_model_len", Int),
        ("num_blocks", Int),
        ("num_tier_blocks", Int),
        ("num_threads", Int),
    )


class AdmissionDesc(ctypes.Structure):
    _fields_ = (
        ("token_ids", Pointer),
        ("suppressed", Pointer),
        ("biases", Pointer),
        ("allowed", Pointer),
        ("bad_words", Pointer),
        ("bad_word_ends", Pointer),
        ("seed", ctypes.c_uint64),
        ("branch", Long),
        ("suppressed_until", Long),
        ("top_p", ctypes.c_double),
        ("slot", Int),
        ("num_tokens", Int),
        ("prompt_length", Int),
        ("num_suppressed", Int),
        ("num_biases", Int),
        ("num_bad_words", Int),
        ("top_k", Int),
        ("temperature", ctypes.c_float),
        ("min_p", ctypes.c_float),
        ("repetition_penalty", ctypes.c_float),
        ("presence_penalty", ctypes.c_float),
        ("frequency_penalty", ctypes.c_float),
    )


class StepDesc(ctypes.Structure):
    _fields_ = (
        ("admitted", ctypes.POINTER(AdmissionDesc)),
        ("copies", Pointer),
        ("new_blocks", Pointer),
        ("slot", Pointer),
        ("query_start", Pointer),
        ("num_computed", Pointer),
        ("token_ids", Pointer),
        ("output_row", Pointer),
        ("output_slot", Pointer),
        ("target", Pointer),
        ("num_logprobs", Pointer),
        ("mask_row", Pointer),
        ("num_admitted", Int),
        ("num_copies", Int),
        ("num_new_blocks", Int),
        ("num_requests", Int),
        ("num_tokens", Int),
        ("num_outputs", Int),
        ("num_sampled", Int),
        ("num_scored", Int),
    )


class ResultDesc(ctypes.Structure):
    _fields_ = (
        ("token", Pointer),
        ("logprob", Pointer),
        ("rank", Pointer),
        ("top_ids", Pointer),
        ("top_logprobs", Pointer),
        ("pooled", Pointer),
        ("phase_seconds", Pointer),
        ("max_logprobs", Int),
    )


class WorkspaceBytes(ctypes.Structure):
    _fields_ = (
        ("buffers", Long),
        ("scratch", Long),
        ("rope_tables", Long),
        ("lists", Long),
        ("sampling", Long),
    )


_SIGNATURES: tuple[tuple[str, object, tuple[object, ...]], ...] = (
    ("octavo_built_from", ctypes.c_char_p, ()),
    ("octavo_default_isa", ctypes.c_char_p, ()),
    ("octavo_has_isa", Int, (ctypes.c_char_p,)),
    ("octavo_rope_table", None, (Long, Int, Pointer, ctypes.c_double, Pointer, Pointer)),
    ("octavo_packed_format", Int, (Int,)),
    ("octavo_packed_bytes", ctypes.c_size_t, (Int, Long, Long)),
    ("octavo_repack", Int, (Int, Pointer, Pointer, Long, Long, Long, Long)),
    (
        "octavo_executor_bytes",
        Int,
        (ctypes.POINTER(ExecutorDesc), ctypes.c_char_p, ctypes.POINTER(WorkspaceBytes)),
    ),
    (
        "octavo_executor_create",
        Pointer,
        (ctypes.POINTER(ExecutorDesc), ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    ),
    ("octavo_executor_destroy", None, (Pointer,)),
    (
        "octavo_executor_forward",
        Int,
        (
            Pointer,
            ctypes.POINTER(StepDesc),
            ctypes.POINTER(ResultDesc),
            ctypes.c_char_p,
            ctypes.c_size_t,
        ),
    ),
    ("octavo_executor_sample", None, (Pointer, ctypes.POINTER(ResultDesc), Pointer)),
    ("octavo_executor_touch_ahead", Int, (Pointer,)),
    ("octavo_executor_buffer", Pointer, (Pointer, Int, ctypes.POINTER(Long))),
)


@functools.cache
def load_library() -> ctypes.CDLL:
    """The native library with its functions' types declared. Calls release the GIL.

    Raises StartError when the package was installed without it, or with that of another version.
    """
    path = _find()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise StartError(f"{path} cannot be loaded ({error}); {_remedy()}.") from error
    try:
        for name, result, arguments in _SIGNATURES:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        other = "no function " + name
    else:
        other = ", ".join(_changed_since(library.octavo_built_from().decode()))
    if other:
        raise StartError(
            f"{path} was built from another version of octavo than this one ({other}); {_remedy()}."
        )
    return library


def missing_isa(isa: str | None) -> StartError:
    return StartError(f"OCTAVO_CPU_ISA is {isa!r}, which this processor or this build of octavo cannot run.")


def _changed_since(built_from: str) -> list[str]:
    """Files of this package that are not those the library was built from. An installed one has no C++."""
    digests = dict(entry.split("=") for entry in built_from.split(","))
    files = {name: _PACKAGE / name for name in digests}
    return [
        name
        for name, file in files.items()
        if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() != digests[name]
    ]


def _remedy() -> str:
    if (_PACKAGE / "backends/cpu/csrc").exists():
        return f"run `tools/setup serve` (or `pip install --editable .`) in {_PACKAGE.parents[1]}"
    return "run `pip install --force-reinstall --no-deps octavo`"


def _find() -> pathlib.Path:
    """Beside this file, or in site-packages when the package is installed for editing."""
    beside = _PACKAGE / "backends/cpu" / _NAME
    if beside.exists():
        return beside
    try:
        distribution = importlib.metadata.distribution("octavo")
        installed = pathlib.Path(str(distribution.locate_file(f"octavo/backends/cpu/{_NAME}")))
    except importlib.metadata.PackageNotFoundError:
        installed = beside
    if not installed.exists():
        raise StartError(f"The native library {_NAME} is missing; {_remedy()}.")
    return installed


def address_of(array: Any) -> int:
    """Where a contiguous, writable array lies; `array.ctypes.data` says so too, in four times the time."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array)) if array.size else 0
