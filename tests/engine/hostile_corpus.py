"""A corpus of hostile models: mutations of good ones, the same for the same seed."""

import copy
import json
import pathlib
import random
import shutil
import struct
from collections.abc import Iterator
from typing import Any

from octavo.models.loading import CONFIG_FAMILIES
from tests.engine.tiny_checkpoint import CONFIG, checkpoint_tensors
from tests.text import tiny_directory
from tests.weights.gguf_bytes import (
    F32,
    I32,
    STRING,
    U32,
    U64,
    array,
    model_file,
    tiny_metadata,
    tiny_tensors,
    value,
)
from tests.weights.safetensors_bytes import raw, safetensors
from tests.weights.split_bytes import split_keys, write_split

EXTREME = (0, 1, 3, 31, 33, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
TEXTS = (b"", b"\xff\xfe", b"x" * 70_000, b"llama", b"{% for x in y %}", b"{{ a", b"\0")
JUNK = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, "", "llama", "x" * 5000, [], {},
    [1], [None], {"a": 1}, {"rope_type": "yarn"}, {"type": 5}, [[[]]],
)  # fmt: skip
CONFIG_KEYS = (
    *CONFIG, "model_type", "rope_scaling", "rope_parameters", "rope_theta", "rms_norm_eps", "head_dim",
    "hidden_act", "attention_bias", "sliding_window", "layer_types", "num_experts", "eos_token_id",
)  # fmt: skip
SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count", "general.name")
PART_NAMES = (
    "big-00000-of-00003.gguf", "big-00001-of-00001.gguf", "big-00001-of-99999.gguf", "big-1-of-3.gguf",
    "big.gguf", "-00001-of-00002.gguf",
)  # fmt: skip
SHARD_NAMES = (
    "../x.safetensors", "/etc/passwd", "", None, 5, "a/b.safetensors", "..safetensors", "no.safetensors",
)  # fmt: skip


def corpus(folder: pathlib.Path, seed: int, count: int) -> Iterator[pathlib.Path]:
    """count models, one after the other in one place: directories, GGUF files whole and split, by turns."""
    rng = random.Random(seed)
    files = _good_files(folder)
    directory, file, split = folder / "model", folder / "model.gguf", folder / "split"
    directory.mkdir()
    for i in range(count):
        if i % 4 == 1:
            file.write_bytes(_gguf(rng))
            yield file
        elif i % 4 == 3:
            yield _bad_split(rng, split)
            shutil.rmtree(split)
        else:
            for name, content in {**files, **_bad_files(rng, files)}.items():
                (directory / name).write_bytes(content)
            yield directory
            (directory / "model.safetensors.index.json").unlink(missing_ok=True)


def _bad_split(rng: random.Random, folder: pathlib.Path) -> pathlib.Path:
    """One of the parts of a split model, of which one is missing, another's, or mutated."""
    folder.mkdir()
    parts = write_split(folder, tiny_metadata(), tiny_tensors(), rng.randint(2, 4))
    victim, other = rng.sample(parts, 2)
    data = bytearray(victim.read_bytes())
    match rng.randrange(6):
        case 0:
            victim.unlink()
        case 1:
            victim.write_bytes(other.read_bytes())
        case 2:
            victim.write_bytes(data[: rng.randrange(len(data))])
        case 3:
            number, key = rng.randrange(len(parts)), rng.choice(SPLIT_KEYS)
            keys = split_keys(number, len(parts), len(tiny_tensors())) | {key: _metadata_value(rng)}
            own = dict(rng.sample(list(tiny_tensors().items()), 3))
            victim.write_bytes(model_file(keys | (tiny_metadata() if victim == parts[0] else {}), own))
        case 4:
            victim.rename(folder / rng.choice(PART_NAMES))
    return rng.choice(list(folder.iterdir()))


def _gguf(rng: random.Random) -> bytes:
    metadata = tiny_metadata()
    for key in rng.sample(list(metadata), rng.randint(1, 2)):
        metadata[key] = _metadata_value(rng)
    if rng.random() < 0.2:
        del metadata[rng.choice(list(metadata))]
    data = bytearray(model_file(metadata, tiny_tensors()))
    head = min(len(data) - 8, 12_000)
    match rng.randrange(5):
        case 0:
            del data[rng.randrange(len(data)) :]
        case 1:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(head)] = rng.randrange(256)
        case 2:
            struct.pack_into("<Q", data, rng.randrange(head), rng.choice(EXTREME))
        case 3:
            struct.pack_into("<I", data, rng.choice((4, 8, 16)), rng.choice(EXTREME) % 2**32)
    return bytes(data)


def _metadata_value(rng: random.Random) -> bytes:
    match rng.randrange(6):
        case 0:
            return value(U32, rng.choice(EXTREME) % 2**32)
        case 1:
            return value(U64, rng.choice(EXTREME))
        case 2:
            return value(F32, rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e-38)))
        case 3:
            return value(STRING, rng.choice(TEXTS))
        case 4:
            return array(STRING, rng.choices(("", "a", "a b", "é"), k=rng.randrange(5)))
    return array(I32, [rng.randint(-5, 300) for _ in range(rng.randrange(400))])


def _good_files(folder: pathlib.Path) -> dict[str, bytes]:
    tiny_directory.llama3().save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "</s>", "chat_template": tiny_directory.TEMPLATE}
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "modeling_evil.py": b"raise SystemExit('model code was run')",  # what auto_map names
        "tokenizer.json": (folder / "tokenizer.json").read_bytes(),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "model.safetensors": safetensors(checkpoint_tensors()),
    }


def _bad_files(rng: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    match rng.randrange(5):
        case 0:
            return {"config.json": json.dumps(_bad_config(rng)).encode()}
        case 1:
            return {"model.safetensors": _bad_safetensors(rng, files["model.safetensors"])}
        case 2:
            return {"model.safetensors.index.json": _bad_index(rng)}
        case 3:
            name = rng.choice(("tokenizer.json", "tokenizer_config.json"))
            fields = json.loads(files[name])
            for _ in range(rng.randint(1, 2)):
                _mutate(rng, fields)
            return {name: json.dumps(fields).encode()}
    name = rng.choice(list(files))
    return {name: _damaged(rng, files[name])}


def _bad_config(rng: random.Random) -> dict[str, Any]:
    config: dict[str, Any] = dict(CONFIG)
    if rng.random() < 0.5:
        config["architectures"] = [rng.choice(CONFIG_FAMILIES).CONFIG_NAME]
    for _ in range(rng.randint(1, 3)):
        config[rng.choice(CONFIG_KEYS)] = _junk(rng)
    return config


def _bad_safetensors(rng: random.Random, data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    for _ in range(rng.randint(1, 2)):
        _mutate(rng, header)
    return raw(header, data[end:], length=rng.choice((None, None, None, *EXTREME)))


def _bad_index(rng: random.Random) -> bytes:
    names = dict.fromkeys(checkpoint_tensors(), "model.safetensors")
    for name in rng.sample(list(names), rng.randint(0, 2)):
        names[name] = rng.choice(SHARD_NAMES)
    data = json.dumps({"weight_map": names}).encode()
    return data if rng.random() < 0.7 else _damaged(rng, data)


def _mutate(rng: random.Random, values: dict[str, Any]) -> None:
    """Somewhere within values: a key dropped, or its value replaced."""
    if not values:
        return
    key = rng.choice(list(values))
    if isinstance(values[key], dict) and rng.random() < 0.7:
        _mutate(rng, values[key])
    elif rng.random() < 0.3:
        del values[key]
    else:
        values[key] = _junk(rng)


def _junk(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(JUNK))


def _damaged(rng: random.Random, data: bytes) -> bytes:
    match rng.randrange(3):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            changed = bytearray(data)
            changed[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(changed)
    return b'{"a":' * rng.choice((3, 100_000))
