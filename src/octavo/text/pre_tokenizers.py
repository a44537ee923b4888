"""How text is cut into words before byte-pair merges, by the name a GGUF file gives it (tokenizer.ggml.pre).

Each entry is what the models' own tokenizers do (for "default", which is no model's own: what llama.cpp
does); a wrong one would give plausible but wrong tokens, so an unknown name is refused.
"""

import dataclasses

from tokenizers import Regex, normalizers, pre_tokenizers


@dataclasses.dataclass(frozen=True, slots=True)
class PreTokenizer:
    """patterns cut one after the other: what one has cut out, and what lies between, the next may cut again.

    is_whole_word_first: a word that is a token is taken without merging.
    """

    patterns: tuple[str, ...]
    is_normalized: bool = False  # text is brought to Unicode NFC first
    is_whole_word_first: bool = False
    adds_bos: bool = False  # unless the file says otherwise

    def build(self) -> pre_tokenizers.PreTokenizer:
        cuts = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in self.patterns]
        return pre_tokenizers.Sequence(
            [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    def build_normalizer(self) -> normalizers.Normalizer | None:
        return normalizers.NFC() if self.is_normalized else None


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _gpt_4(digits: str) -> str:
    """The word pattern that GPT-4's tokenizer introduced; families differ in how many digits make a word."""
    return rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}"


def _gpt_4o(digits: str, contractions: str) -> str:
    """GPT-4o's: a word also ends before a capital letter."""
    before, upper, lower = (
        r"[^\r\n\p{L}\p{N}]?",
        r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]",
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]",
    )
    return (
        rf"{before}{upper}*{lower}+{contractions}|{before}{upper}+{lower}*{contractions}|{digits}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
    )


_DIGIT, _THREE_DIGITS = r"\p{N}", r"\p{N}{1,3}"
_SINGLE_DIGITS = PreTokenizer((_DIGIT, _GPT_2))
_PLAIN = PreTokenizer((_GPT_2,))
_LLAMA_3 = PreTokenizer((_gpt_4(_THREE_DIGITS),), is_whole_word_first=True, adds_bos=True)
_CL100K = PreTokenizer((_gpt_4(_THREE_DIGITS),))
_O200K = PreTokenizer((_gpt_4o(_THREE_DIGITS, f"{_CONTRACTIONS}?"),))

PRE_TOKENIZERS = {
    "gpt-2": _PLAIN,
    "phi-2": _PLAIN,
    "olmo": _PLAIN,
    "mpt": _PLAIN,
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "refact": _SINGLE_DIGITS,
    "codeshell": _SINGLE_DIGITS,
    "llama-bpe": _LLAMA_3,
    "llama3": _LLAMA_3,
    "llama-v3": _LLAMA_3,
    "dbrx": _CL100K,
    "qwen2": PreTokenizer((_gpt_4(_DIGIT),), is_normalized=True),
    "tekken": PreTokenizer((_gpt_4o(_DIGIT, ""),), is_whole_word_first=True, adds_bos=True),
    "gpt-4o": _O200K,
    "llama4": _O200K,
    "default": PreTokenizer((r"[\p{P}$+<=>^~|]+", _GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]")),
}
