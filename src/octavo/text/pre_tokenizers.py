"""How text is cut into words before byte-pair merges, by the name a GGUF file gives it (tokenizer.ggml.pre).

Each entry is what the models' own tokenizers do; a wrong one would give plausible but wrong tokens, so an
unknown name is refused.
"""

import dataclasses

from tokenizers import Regex, normalizers, pre_tokenizers


@dataclasses.dataclass(frozen=True, slots=True)
class PreTokenizer:
    """pattern None is GPT-2's own. is_whole_word_first: a word that is a token is taken without merging."""

    pattern: str | None = None
    has_single_digits: bool = False  # every digit is a word of its own
    is_normalized: bool = False  # text is brought to Unicode NFC first
    is_whole_word_first: bool = False
    adds_bos: bool = False  # unless the file says otherwise

    def build(self) -> pre_tokenizers.PreTokenizer:
        steps: list[pre_tokenizers.PreTokenizer] = []
        if self.has_single_digits:
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        if self.pattern is not None:
            steps.append(pre_tokenizers.Split(Regex(self.pattern), behavior="isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.pattern is None))
        return pre_tokenizers.Sequence(steps)

    def build_normalizer(self) -> normalizers.Normalizer | None:
        return normalizers.NFC() if self.is_normalized else None


def _words(digits: str) -> str:
    """The word pattern that GPT-4's tokenizer introduced; families differ in how many digits make a word."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


_LLAMA_3 = PreTokenizer(_words(r"\p{N}{1,3}"), is_whole_word_first=True, adds_bos=True)

PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer(),
    "smollm": PreTokenizer(has_single_digits=True),
    "llama-bpe": _LLAMA_3,
    "llama3": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "qwen2": PreTokenizer(_words(r"\p{N}"), is_normalized=True),
}
