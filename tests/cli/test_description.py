import json
import pathlib

import pytest

from octavo.cli.inspect import inspect
from octavo.core.errors import ModelFileError
from tests.weights.gguf_bytes import U32, model_file, tiny_metadata, tiny_tensors, value


def lines_of(model: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    inspect(str(model))
    return capsys.readouterr().out.splitlines()


def rows(lines: list[str]) -> list[list[str]]:
    """Lines as words, from the program's headline on."""
    start = next(index for index, line in enumerate(lines) if line.startswith("program"))
    return [line.split() for line in lines[start:]]


def test_a_file_is_described_in_numbers(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(model_file(tiny_metadata() | {"llama.context_length": value(U32, 4096)}, tiny_tensors()))
    lines = lines_of(path, capsys)
    assert lines[0] == "Tiny"
    for expected in (
        "layers         2 of width 32, MLP 48",
        "attention      4 query heads, 2 key-value heads of width 8",
        "vocabulary     260 tokens, also the output head",
        "weights        F32      93.1 KiB   20 tensors",
        "KV cache       132 bytes per token, 2.1 KiB per block of 16; as int8 100 and 1.6 KiB",
        "                 2,048 tokens take 264.0 KiB; as int8 200.0 KiB",
        "                 4,096 tokens take 528.0 KiB; as int8 400.0 KiB",
        "answers end    at <|im_end|> (1)",
        "chat template  yes",
        "               tool calls as json, told in a system text",
    ):
        assert expected in lines
    program = rows(lines)
    assert program[0] == ["program:", "24", "ops"]
    assert ["layers", "0-1"] in program
    assert program.count(["attention", "rotated", "->", "attended"]) == 1
    assert ["linear", "attended", "+", "hidden", "->", "hidden", "o", "[32", "x", "32]", "F32"] in program


def test_layers_that_differ_are_written_apart(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = tiny_tensors()
    path = tmp_path / "tiny.gguf"
    data = model_file(tiny_metadata(), tensors)
    # The type of one tensor, right behind its name and dimensions: BF16 instead of F32.
    name = b"blk.1.attn_v.weight"
    at = data.index(name) + len(name) + 4 + 16
    path.write_bytes(data[:at] + (30).to_bytes(4, "little") + data[at + 4 :])
    program = rows(lines_of(path, capsys))
    assert ["layer", "0"] in program
    assert ["layer", "1"] in program
    assert ["linear", "normed", "->", "qkv", "qkv", "[64", "x", "32]", "F32", "+", "BF16"] in program


def test_a_config_alone_gives_all_but_the_weights(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 16,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    lines = lines_of(path, capsys)
    assert "parameters     1,235.8 M" in lines
    assert "                32,768 tokens take 1,024.1 MiB; as int8 544.1 MiB" in lines
    assert not any(line.startswith(("weights", "tokenizer")) for line in lines)
    assert ["layers", "0-15"] in rows(lines)


def test_kinds_of_layers_are_told_apart(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 18, "hidden_size": 640,
        "intermediate_size": 2048, "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 262144,
        "max_position_embeddings": 32768, "sliding_window": 512, "attention_bias": True,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    lines = lines_of(path, capsys)
    at = lines.index("positions      rotary, base 10,000, halves; a window of 512 tokens (15 layers)")
    assert lines[at + 1].split() == ["rotary,", "base", "1,000,000,", "halves", "(3", "layers)"]
    assert "parameters     268.1 M" in lines
    assert ["linear", "normed", "->", "qkv", "qkv", "[1,536", "x", "640,", "bias]"] in rows(lines)


def test_experts_are_counted(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "architectures": ["MixtralForCausalLM"], "num_hidden_layers": 32, "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    lines = lines_of(path, capsys)
    assert "parameters     46,702.8 M" in lines
    assert "experts        8 of width 14,336, 2 for a token (12,879.9 M parameters); in 32 layers" in lines


@pytest.mark.parametrize("content", ["{", "[]", None])
def test_a_config_that_is_none_is_refused(content: str | None, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ModelFileError, match=r"config\.json: (cannot be read as JSON|is not a JSON object)"):
        inspect(str(path))
