import pytest

from octavo.core.split_name import SplitName, model_stem


def test_a_part_names_all_of_them() -> None:
    name = SplitName.parse("big.Q4_K_M-00002-of-00003.gguf")
    assert name == SplitName("big.Q4_K_M", 3, 2)
    assert [str(part) for part in name.parts] == [f"big.Q4_K_M-0000{n}-of-00003.gguf" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "name",
    [
        "a.gguf", "a-00001-of-00003.safetensors", "-00001-of-00003.gguf", "a-1-of-3.gguf",
        "a-00000-of-00003.gguf", "a-00004-of-00003.gguf", "a-00001-of-00003.gguf.part",
    ],
)  # fmt: skip
def test_other_files_are_no_parts(name: str) -> None:
    assert SplitName.parse(name) is None


@pytest.mark.parametrize("name", ["big.gguf", "big.GGUF", "big-00002-of-00003.gguf", "big"])
def test_a_models_name_without_what_says_it_is_gguf(name: str) -> None:
    assert model_stem(name) == "big"
