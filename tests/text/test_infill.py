"""Where the tokens for filling in the middle come from: ids in the file, or known names."""

import pytest

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.infill import InfillTokens, infill_of_gguf, infill_of_names


@pytest.mark.parametrize(
    "names",
    (
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    ),
)
def test_known_names_are_found(names: tuple[str, str, str]) -> None:
    prefix, suffix, middle = names
    assert infill_of_names({"a": 0, middle: 1, prefix: 5, suffix: 7}) == InfillTokens(5, 7, 1)
    assert infill_of_names({"a": 0, middle: 1, prefix: 5}) is None


def test_a_file_may_name_them() -> None:
    newer = {f"tokenizer.ggml.fim_{name}_token_id": i for i, name in enumerate(("pre", "suf", "mid"))}
    older = {
        f"tokenizer.ggml.{name}_token_id": i + 3 for i, name in enumerate(("prefix", "suffix", "middle"))
    }
    assert infill_of_gguf(ModelMetadata("m", newer | older), 9) == InfillTokens(0, 1, 2)
    assert infill_of_gguf(ModelMetadata("m", older), 9) == InfillTokens(3, 4, 5)
    assert infill_of_gguf(ModelMetadata("m", {"tokenizer.ggml.fim_pre_token_id": 1}), 9) is None
    with pytest.raises(ModelFileError, match="middle_token_id is 5"):
        infill_of_gguf(ModelMetadata("m", older), 5)
