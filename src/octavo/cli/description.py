"""What `octavo show` and `octavo inspect` say of a model, without loading it."""

import collections
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Mapping

from octavo.backends.base import StepLimits
from octavo.backends.cpu.memory_plan import workspace_parts
from octavo.config import EngineConfig, Environment
from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.counted import counted
from octavo.core.errors import ModelFileError
from octavo.core.kv_dtype import KVDType
from octavo.core.metadata import ModelMetadata
from octavo.engine.model_files import Model, TextModel, open_model, open_text
from octavo.engine.resources import available_cores
from octavo.kv.manager import max_blocks_held
from octavo.models.architecture import Architecture
from octavo.models.loading import from_config
from octavo.models.lowering import lower
from octavo.models.program import Op, Program, Weight
from octavo.models.source import resolve
from octavo.text.chat_abilities import abilities_of
from octavo.weights.formats import Tensor

_CONTEXTS = (2048, 8192, 32768)  # tokens, for the KV cache's size
_LABEL_WIDTH = 14

_Row = tuple[str, str, str, str]  # an op: kind, data flow, weight, the weight's formats


def describe(model: str, *, has_program: bool) -> Iterable[str]:
    """Lines on a model, with or without those of its program."""
    if model.endswith(".json"):
        program = lower(_read_config(pathlib.Path(model)))
        yield from _overview(model, pathlib.Path(model).parent.name or model, program)
        yield from _memory_lines(program, {})
        if has_program:
            yield from _program_lines(program, {})
        return
    path = resolve(model, Environment.read().home)
    opened, text = open_model(path), open_text(path)
    yield from _overview(_place(opened), opened.name, opened.program)
    yield from _weight_lines(opened.checkpoint.parts)
    yield from _memory_lines(opened.program, opened.checkpoint.parts)
    yield from _text_lines(text)
    if has_program:
        yield from _program_lines(opened.program, opened.checkpoint.parts)


def _place(opened: Model) -> str:
    num_more = len(opened.checkpoint.files) - 1
    return str(opened.path) + (f" and {num_more} more" if num_more and opened.path.is_file() else "")


def _read_config(path: pathlib.Path) -> Architecture:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path}: is not a JSON object.")
    return from_config(ModelMetadata(str(path), values))[0]


def _overview(file: str, name: str, program: Program) -> Iterable[str]:
    arch = program.architecture
    yield name
    yield ""
    yield _line("file", file)
    yield _line("family", arch.family)
    yield _line("parameters", f"{program.num_parameters / 1e6:,.1f} M")
    yield _line("layers", f"{arch.num_layers} of width {arch.hidden_size:,}, MLP {arch.ffn_size:,}")
    if arch.experts is not None:
        chosen = (
            f"{arch.experts.count} of width {arch.experts.ffn_size:,}, {arch.experts.per_token} for a token"
        )
        active = f"{program.num_active_parameters / 1e6:,.1f} M parameters"
        layers = sum(kind.has_experts for kind in arch.kinds_used)
        yield _line("experts", f"{chosen} ({active}); in {counted(layers, 'layer')}")
    heads = f"{arch.num_heads} query heads, {arch.num_kv_heads} key-value heads"
    yield _line("attention", f"{heads} of width {arch.head_dim}")
    yield from _layer_kind_lines(arch)
    yield _line("context", f"{arch.max_position:,} tokens")
    tied = ", also the output head" if arch.is_embedding_tied else "; output head of its own"
    yield _line("vocabulary", f"{arch.vocab_size:,} tokens{tied}")


def _layer_kind_lines(arch: Architecture) -> Iterable[str]:
    """One line for each kind of layer: its positions, and what it sees."""
    counts = collections.Counter(arch.kinds_used)
    for i, (kind, count) in enumerate(counts.items()):
        rope, window = kind.rope, kind.window
        text = "none" if rope is None else f"rotary, base {rope.base:,.0f}, {rope.pairing}"
        if rope is not None and rope.scaling is not None:
            text += f", {type(rope.scaling).__name__.removesuffix('Scaling').lower()} scaling"
        text += f"; a window of {window:,} tokens" if window else ""
        text += f" ({counted(count, 'layer')})" if len(counts) > 1 else ""
        yield _line("" if i else "positions", text)


def _weight_lines(parts: Mapping[str, Tensor]) -> Iterable[str]:
    by_format: dict[str, list[Tensor]] = {}
    for tensor in parts.values():
        by_format.setdefault(tensor.format.label, []).append(tensor)
    label = "weights"
    for name, tensors in sorted(by_format.items(), key=lambda item: -_num_bytes(item[1])):
        yield _line(label, f"{name:<5} {_size(_num_bytes(tensors)):>11}   {counted(len(tensors), 'tensor')}")
        label = ""
    yield _line(label, f"{'total':<5} {_size(_num_bytes(parts.values())):>11}")


def _memory_lines(program: Program, parts: Mapping[str, Tensor]) -> Iterable[str]:
    """Besides the weights: what a server with default options plans. Python itself is not in it."""
    engine = EngineConfig()
    limits = StepLimits(engine.max_num_seqs, engine.max_num_batched_tokens, program.architecture.max_position)
    largest = f"steps of {limits.max_num_batched_tokens} tokens and {limits.max_num_seqs} requests"
    threads = available_cores()
    workspace = workspace_parts(program, parts, limits, threads)
    sampling = workspace.pop("sampling")
    yield _line("workspace", f"{_size(sum(workspace.values()))} for {largest}, {counted(threads, 'thread')}:")
    yield _line("", ", ".join(f"{name.replace('_', ' ')} {_size(size)}" for name, size in workspace.items()))
    yield _line("sampling", f"{_size(sampling)} if every request has penalties, biases and masks")
    yield from _kv_lines(program, limits.max_num_batched_tokens)


def _kv_lines(program: Program, max_num_batched_tokens: int) -> Iterable[str]:
    """With a cache of bf16, and behind it what one of int8 takes."""
    kinds = [program.kv_groups, program.with_kv_dtype(KVDType.INT8).kv_groups]
    windows = tuple(group.window for group in program.kv_groups)
    wide, narrow = (sum(group.block_bytes for group in groups) for groups in kinds)
    per_token = f"{wide // BLOCK_SIZE:,} bytes per token"
    if any(windows):
        per_token += " inside every window"
    int8 = f"as int8 {narrow // BLOCK_SIZE:,} and {_size(narrow)}"
    yield _line("KV cache", f"{per_token}, {_size(wide)} per block of {BLOCK_SIZE}; {int8}")
    longest = program.architecture.max_position
    for context in sorted({*(context for context in _CONTEXTS if context < longest), longest}):
        num_blocks = max_blocks_held(windows, context, max_num_batched_tokens)
        wide, narrow = (num_blocks * groups[0].block_bytes for groups in kinds)
        yield _line("", f"{context:>7,} tokens take {_size(wide)}; as int8 {_size(narrow)}")


def _text_lines(text: TextModel) -> Iterable[str]:
    vocabulary = text.tokenizer.vocabulary
    counts = f"{len(vocabulary):,} tokens, {len(vocabulary.control_ids)} of them control tokens"
    yield _line("tokenizer", f"{vocabulary.spelling.value}, {counts}")
    ends = ", ".join(f"{vocabulary.tokens[token_id]} ({token_id})" for token_id in sorted(text.end_ids))
    yield _line("answers end", f"at {ends}" if ends else "only at max_tokens: the file names no such token")
    if text.chat_template.is_present:
        yield _line("chat template", "yes")
        yield _line("", str(abilities_of(text.chat_template, vocabulary)))
    else:
        yield _line("chat template", "none: completions only")


def _program_lines(program: Program, parts: Mapping[str, Tensor]) -> Iterable[str]:
    """The ops, layers that are alike written once."""
    weights = {weight.name: weight for weight in program.weights}
    yield ""
    yield f"program: {len(program.ops)} ops"
    stretches: list[tuple[list[int], list[_Row]]] = []  # layers, the rows of each
    for layer, ops in itertools.groupby(program.ops, key=lambda op: op.layer):
        rows = [_row(op, weights, parts) for op in ops]
        if layer >= 0 and stretches and stretches[-1][0][0] >= 0 and stretches[-1][1] == rows:
            stretches[-1][0].append(layer)
        else:
            stretches.append(([layer], rows))
    all_rows = itertools.chain.from_iterable(rows for _, rows in stretches)
    widths = [max(map(len, column)) for column in zip(*all_rows, strict=True)]
    for layers, rows in stretches:
        if layers[0] >= 0:
            yield f"  layers {layers[0]}-{layers[-1]}" if len(layers) > 1 else f"  layer {layers[0]}"
        indent = "    " if layers[0] >= 0 else "  "
        for row in rows:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield (indent + "  ".join(padded)).rstrip()


def _row(op: Op, weights: Mapping[str, Weight], parts: Mapping[str, Tensor]) -> _Row:
    """Without the layer's number, so that layers that are alike have equal rows."""
    sources = [*(op.inputs or ("token ids",)), *([op.output] if getattr(op.attrs, "has_residual", 0) else [])]
    flow = f"{' + '.join(map(str, sources))} -> {op.output or 'KV cache'}"
    if op.weight is None:
        return op.kind.name.lower(), flow, "", ""
    weight = weights[op.weight]
    shape = f"{weight.num_rows:,}" if weight.is_vector else f"{weight.num_rows:,} x {weight.num_columns:,}"
    formats = dict.fromkeys(parts[part].format.label for part, _ in weight.parts if part in parts)
    name = re.sub(r"^layers\.\d+\.", "", weight.name)
    shape += ", bias" if op.bias else ""
    return op.kind.name.lower(), flow, f"{name} [{shape}]", " + ".join(formats)


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}} {text}"


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.num_bytes for tensor in tensors)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB" if num_bytes >= 1 << 20 else f"{num_bytes / 2**10:,.1f} KiB"
