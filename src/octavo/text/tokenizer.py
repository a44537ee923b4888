"""Text to token ids and back: byte-level BPE from a model's own metadata, merged by the `tokenizers` library.

Control tokens are recognised here and not by the library, so that a caller can say where in a text they may
stand. Immutable after construction; threads may share it.
"""

import re
from collections.abc import Sequence

from tokenizers import AddedToken
from tokenizers import Tokenizer as BPETokenizer
from tokenizers.models import BPE

from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from octavo.text.vocabulary import Vocabulary


class Tokenizer:
    """encode and decode. decode(encode(text)) == text, but for pre-tokenizers that normalise."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        merges: Sequence[tuple[str, str]],
        pre_tokenizer: PreTokenizer,
        *,
        adds_bos: bool = False,
    ) -> None:
        """Raises ValueError for a merge whose parts or result are no tokens."""
        self.vocabulary = vocabulary
        self._ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
        self._adds_bos = adds_bos and vocabulary.bos_id is not None
        self._control = self._control_pattern()
        self._bpe = self._build_bpe(merges, pre_tokenizer)

    @classmethod
    def of_gguf(cls, metadata: ModelMetadata, vocabulary: Vocabulary) -> "Tokenizer":
        """Raises ModelFileError: pre-tokenizer not supported (named), merges that do not fit the tokens."""
        name = metadata.text("tokenizer.ggml.pre")
        pre_tokenizer = PRE_TOKENIZERS.get(name)
        if pre_tokenizer is None:
            known = ", ".join(PRE_TOKENIZERS)
            raise ModelFileError(
                f"{metadata.source}: pre-tokenizer {name!r} is not supported; supported: {known}."
            )
        merges = [tuple(merge.split(" ", 1)) for merge in metadata.strings("tokenizer.ggml.merges")]
        adds_bos = metadata.flag("tokenizer.ggml.add_bos_token", pre_tokenizer.adds_bos)
        try:
            return cls(vocabulary, merges, pre_tokenizer, adds_bos=adds_bos)  # type: ignore[arg-type]
        except ValueError as error:
            raise ModelFileError(f"{metadata.source}: {error}") from error

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        """allow_special: names of control tokens in text become those tokens; otherwise they stay text."""
        if not allow_special:
            return self.encode_plain(text)
        ids: list[int] = []
        for is_control, piece in self.split_control(text):
            ids += [self._ids[piece]] if is_control else self.encode_plain(piece)
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """A raw prompt: control tokens parsed, the model's begin token in front where it wants one."""
        ids = self.encode(text, allow_special=True)
        bos_id = self.vocabulary.bos_id
        if self._adds_bos and bos_id is not None and ids[:1] != [bos_id]:
            ids.insert(0, bos_id)
        return ids

    def split_control(self, text: str) -> list[tuple[bool, str]]:
        """text cut at names of control tokens, as (is it such a name, piece); no piece is empty."""
        if self._control is None:
            return [(False, text)] if text else []
        pieces = self._control.split(text)  # the pattern is one group: odd pieces are the names
        return [(index % 2 == 1, piece) for index, piece in enumerate(pieces) if piece]

    def control_id(self, name: str) -> int:
        return self._ids[name]

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of text without control tokens. Raises InvalidRequestError for half a surrogate pair."""
        try:
            ids: list[int] = self._bpe.encode(text, add_special_tokens=False).ids
        except TypeError as error:  # the library's answer to a string that has no UTF-8
            raise InvalidRequestError("The text holds half of a surrogate pair, which is no text.") from error
        return ids

    def decode(self, token_ids: Sequence[int], *, skip_control: bool = True) -> str:
        """Bytes that are not UTF-8 become U+FFFD."""
        table, control = self.vocabulary.token_bytes, self.vocabulary.control_ids
        spelled = [table[i] for i in token_ids if not (skip_control and i in control)]
        return b"".join(spelled).decode("utf-8", errors="replace")

    def _control_pattern(self) -> re.Pattern[str] | None:
        """Any control token's name; of two that match at one place, the longer."""
        names = [self.vocabulary.tokens[token_id] for token_id in self.vocabulary.control_ids]
        names = sorted((name for name in names if name), key=lambda name: (-len(name), name))
        return re.compile(f"({'|'.join(map(re.escape, names))})") if names else None

    def _build_bpe(self, merges: Sequence[tuple[str, str]], pre_tokenizer: PreTokenizer) -> BPETokenizer:
        try:
            model = BPE(
                vocab=self._ids,
                merges=list(merges),
                fuse_unk=False,
                byte_fallback=False,
                ignore_merges=pre_tokenizer.is_whole_word_first,
            )
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"the tokenizer's merges do not fit its tokens: {error}.") from error
        bpe = BPETokenizer(model)
        bpe.pre_tokenizer = pre_tokenizer.build()
        normalizer = pre_tokenizer.build_normalizer()
        if normalizer is not None:
            bpe.normalizer = normalizer
        tokens = self.vocabulary.tokens
        user_defined = [tokens[token_id] for token_id in sorted(self.vocabulary.user_defined_ids)]
        bpe.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
        return bpe
