"""The tokens of a model: which are ordinary, which control it, which end an answer, and the bytes of each.

Built from GGUF metadata; immutable; shared by tokenizer, detokenizer and chat template.
"""

import itertools
from collections.abc import Iterable, Sequence

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata

_CONTROL, _USER_DEFINED = 3, 4  # tokenizer.ggml.token_type

# Tokens that end an answer in one family or another. A file names some of them by id; a control token with
# such a name does so in every file that has it.
_END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")


def _byte_alphabet() -> str:
    """GPT-2's printable stand-in for each byte: itself where it prints, else a character from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    substitutes = itertools.count(0x100)
    return "".join(chr(byte if byte in printable else next(substitutes)) for byte in range(256))


BYTE_ALPHABET = _byte_alphabet()
_BYTE_OF_CHARACTER = {ord(character): byte for byte, character in enumerate(BYTE_ALPHABET)}


class Vocabulary:
    """tokens by id, as the file has them: ordinary ones in GPT-2's byte alphabet, others as plain text.

    control_ids        steer the model; only the chat template and raw prompts may produce them
    user_defined_ids   plain text that is one token wherever it appears
    end_ids            end an answer: named by the file, or control tokens known to do so
    token_bytes        by id, the bytes of the text a token stands for; for a control token, of its name
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        control_ids: Iterable[int],
        user_defined_ids: Iterable[int] = (),
        bos_id: int | None = None,
        eos_id: int | None = None,
        end_ids: Iterable[int] = (),
    ) -> None:
        """Raises ValueError for a token listed twice, or an ordinary one outside the byte alphabet."""
        self.tokens = list(tokens)
        self.control_ids = frozenset(control_ids)
        self.user_defined_ids = frozenset(user_defined_ids)
        self.bos_id = bos_id
        self.eos_id = eos_id
        named = (token_id for token_id in self.control_ids if self.tokens[token_id] in _END_TOKENS)
        self.end_ids = frozenset((*named, *end_ids))
        self.token_bytes = self._spell()

    @classmethod
    def of_gguf(cls, metadata: ModelMetadata) -> "Vocabulary":
        """Raises ModelFileError, naming the metadata key that is missing or inconsistent."""
        model = metadata.text("tokenizer.ggml.model")
        if model != "gpt2":
            raise ModelFileError(
                f"{metadata.source}: tokenizer model {model!r} is not supported; supported: gpt2."
            )
        tokens = metadata.strings("tokenizer.ggml.tokens")
        types = metadata.integers("tokenizer.ggml.token_type", [1] * len(tokens))
        if len(types) != len(tokens):
            raise ModelFileError(f"{metadata.source}: {len(types)} token types for {len(tokens)} tokens.")
        ids = {key: cls._id_of(metadata, key, len(tokens)) for key in ("bos_token_id", *_END_KEYS)}
        try:
            return cls(
                tokens,
                control_ids=(token_id for token_id, kind in enumerate(types) if kind == _CONTROL),
                user_defined_ids=(token_id for token_id, kind in enumerate(types) if kind == _USER_DEFINED),
                bos_id=ids["bos_token_id"],
                eos_id=ids["eos_token_id"],
                end_ids=(token_id for key in _END_KEYS if (token_id := ids[key]) is not None),
            )
        except ValueError as error:
            raise ModelFileError(f"{metadata.source}: {error}") from error

    def __len__(self) -> int:
        return len(self.tokens)

    def _spell(self) -> list[bytes]:
        """By id, the bytes of the text each token stands for; for a control token, of its name."""
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError("the vocabulary lists a token twice.")
        plain = self.control_ids | self.user_defined_ids
        ordinary = ["" if token_id in plain else token for token_id, token in enumerate(self.tokens)]
        joined = "".join(ordinary)
        foreign = set(joined) - set(BYTE_ALPHABET)
        if foreign:
            token = next(token for token in ordinary if not foreign.isdisjoint(token))
            raise ValueError(f"the token {token!r} is not spelled in the byte alphabet of a gpt2 tokenizer.")
        # One pass over all tokens: each character is one byte, so lengths carry over.
        spelled = joined.translate(_BYTE_OF_CHARACTER).encode("latin-1")
        ends = list(itertools.accumulate(map(len, ordinary), initial=0))
        table = [spelled[start:end] for start, end in itertools.pairwise(ends)]
        for token_id in plain:
            table[token_id] = self.tokens[token_id].encode()
        return table

    @staticmethod
    def _id_of(metadata: ModelMetadata, key: str, num_tokens: int) -> int | None:
        key = f"tokenizer.ggml.{key}"
        if key not in metadata.values:
            return None
        token_id = metadata.integer(key)
        if token_id >= num_tokens:
            raise metadata.error(key, token_id, f"an id below {num_tokens}, the size of the vocabulary")
        return token_id
