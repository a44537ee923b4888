"""Text to token ids and back: byte-pair merges of either kind, done by the `tokenizers` library.

Control tokens are recognised here and not by the encoder, so that a caller can say where in a text they may
stand. Immutable after construction; threads may share it.
"""

import pathlib
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken
from tokenizers import Tokenizer as Encoder
from tokenizers.models import BPE

from octavo.config import keep_tokenizers_in_their_thread
from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.encoders import (
    byte_level_encoder,
    encode,
    pre_tokenizer_of_gguf,
    sentencepiece_encoder,
)
from octavo.text.tokenizer_directory import TokenizerDirectory
from octavo.text.vocabulary import Spelling, Vocabulary

Piece = int | str  # of a text: a control token's id, or the text between two of them


class Tokenizer:
    """encode and decode. decode(encode(text)) == text, but for tokenizers that normalise."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        encoder: Encoder,
        *,
        later_encoder: Encoder | None = None,
        adds_bos: bool = False,
    ) -> None:
        """later_encoder: for what does not begin a text but follows a control token, where that matters."""
        keep_tokenizers_in_their_thread()
        self.vocabulary = vocabulary
        self._encoder, self._later_encoder = encoder, later_encoder or encoder
        self._adds_bos = adds_bos and vocabulary.bos_id is not None
        self._control_ids = sorted(i for i in vocabulary.control_ids if vocabulary.tokens[i])
        self._splitter = self._build_splitter()
        self._prefix = self._prefix_of(self._encoder)
        self._later_prefix = self._prefix_of(self._later_encoder)

    @classmethod
    def of_gguf(cls, metadata: ModelMetadata, vocabulary: Vocabulary) -> "Tokenizer":
        """Raises ModelFileError: pre-tokenizer not supported (named), merges or scores that do not fit."""
        try:
            if vocabulary.spelling is Spelling.BYTE_LEVEL:
                pre_tokenizer = pre_tokenizer_of_gguf(metadata)
                merges = [tuple(merge.split(" ", 1)) for merge in metadata.strings("tokenizer.ggml.merges")]
                encoder = byte_level_encoder(vocabulary, merges, pre_tokenizer)  # type: ignore[arg-type]
                adds_bos = pre_tokenizer.adds_bos
            else:
                scores = metadata.numbers("tokenizer.ggml.scores")
                if len(scores) != len(vocabulary):
                    raise ValueError(f"{len(scores)} scores for {len(vocabulary)} tokens.")
                has_prefix = metadata.flag("tokenizer.ggml.add_space_prefix", True)
                encoder = sentencepiece_encoder(vocabulary, scores, adds_space_prefix=has_prefix)
                adds_bos = True
        except ValueError as error:
            raise ModelFileError(f"{metadata.source}: {error}") from error
        return cls(vocabulary, encoder, adds_bos=metadata.flag("tokenizer.ggml.add_bos_token", adds_bos))

    @classmethod
    def of_directory(cls, path: pathlib.Path) -> "Tokenizer":
        """From tokenizer.json or tokenizer.model, and tokenizer_config.json. Raises ModelFileError."""
        directory = TokenizerDirectory(path)
        parts = directory.read()
        return cls(
            parts.vocabulary, parts.encoder, later_encoder=parts.later_encoder, adds_bos=parts.adds_bos
        )

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        """allow_special: names of control tokens in text become those tokens; otherwise they stay text."""
        return self.encode_pieces(self.split_control(text) if allow_special else [text])

    def encode_prompt(self, text: str) -> list[int]:
        """A raw prompt: control tokens parsed, the model's begin token in front where it wants one."""
        return self._begun(self.encode(text, allow_special=True))

    def encode_infill(self, before: str, after: str) -> list[int]:
        """A prompt for what stands between two texts; control tokens named in them stay text.

        Raises InvalidRequestError where the model has no tokens for it.
        """
        infill = self.vocabulary.infill
        if infill is None:
            raise InvalidRequestError(
                "suffix is not supported by this model: it has no tokens for filling in the middle.",
                param="suffix",
                code="unsupported_parameter",
            )
        gap = (infill.prefix, before, infill.suffix, after, infill.middle)
        return self._begun(self.encode_pieces(gap))

    def _begun(self, ids: list[int]) -> list[int]:
        bos_id = self.vocabulary.bos_id
        if self._adds_bos and bos_id is not None and ids[:1] != [bos_id]:
            ids.insert(0, bos_id)
        return ids

    def split_control(self, text: str) -> list[Piece]:
        """text cut at names of control tokens, of two that begin at one place the longer; none is empty."""
        if self._splitter is None:
            return [text] if text else []
        found = encode(self._splitter, text, has_positions=True)
        pieces: list[Piece] = []
        position = 0
        for index, (start, end) in zip(found.ids, found.offsets, strict=True):
            if start > position:
                pieces.append(text[position:start])
            pieces.append(self._control_ids[index])
            position = end
        if position < len(text):
            pieces.append(text[position:])
        return pieces

    def encode_pieces(self, pieces: Iterable[Piece]) -> list[int]:
        """Texts are encoded as such, names of control tokens in them included. Raises InvalidRequestError for
        half a surrogate pair."""
        ids: list[int] = []
        encoder = self._encoder
        for piece in pieces:
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += encode(encoder, piece).ids
            encoder = self._later_encoder
        return ids

    def decode(self, token_ids: Sequence[int], *, skip_control: bool = True) -> str:
        """Bytes that are not UTF-8 become U+FFFD. A space that encode puts in front is taken away again."""
        table, control = self.vocabulary.token_bytes, self.vocabulary.control_ids
        if self._prefix or self._later_prefix:
            spelled = self._spell_without_prefixes(token_ids, skip_control)
        else:
            spelled = [table[i] for i in token_ids if not (skip_control and i in control)]
        return b"".join(spelled).decode("utf-8", errors="replace")

    def _spell_without_prefixes(self, token_ids: Sequence[int], skip_control: bool) -> list[bytes]:
        vocabulary, spelled, prefix = self.vocabulary, [], self._prefix
        for token_id in token_ids:
            is_control = token_id in vocabulary.control_ids
            if is_control or token_id in vocabulary.user_defined_ids:
                prefix = self._later_prefix
                if not (is_control and skip_control):
                    spelled.append(vocabulary.token_bytes[token_id])
            else:
                spelled.append(vocabulary.token_bytes[token_id].removeprefix(prefix))
                prefix = b""
        return spelled

    def _build_splitter(self) -> Encoder | None:
        """Finds control tokens and nothing else: the n-th of them has the id n."""
        if not self._control_ids:
            return None
        vocabulary, splitter = self.vocabulary, Encoder(BPE(cache_capacity=0))  # would keep whole texts
        splitter.add_special_tokens(
            [
                AddedToken(
                    vocabulary.tokens[token_id],
                    normalized=False,
                    lstrip=token_id in vocabulary.lstrip_ids,
                    rstrip=token_id in vocabulary.rstrip_ids,
                )
                for token_id in self._control_ids
            ]
        )
        return splitter

    def _prefix_of(self, encoder: Encoder) -> bytes:
        """What the encoder puts in front of a text: a space, or nothing."""
        try:
            ids = encode(encoder, "a").ids
        except InvalidRequestError:  # it knows no "a"
            return b""
        return b" " if b"".join(self.vocabulary.token_bytes[i] for i in ids) == b" a" else b""
