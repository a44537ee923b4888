"""tokenizer.json, the file of the `tokenizers` library: what octavo must know of it beside the encoding.

Which tokens are special, how tokens spell text, whether a text's beginning is treated in its own way.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from tokenizers import Tokenizer as Encoder

from octavo.text.encoders import refusals
from octavo.text.vocabulary import Spelling

MAX_UNUSED_IDS = 1 << 16  # ids below the largest that stand for nothing

_MODELS = ("BPE", "Unigram")
_STEPS = ("decoders", "pretokenizers", "normalizers")  # what a sequence of steps calls them


class AddedToken(msgspec.Struct, frozen=True):
    """special: a control token. lstrip, rstrip: it swallows the white space before or after it."""

    id: int
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False


class _Model(msgspec.Struct):
    type: str = "BPE"


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizerJson:
    """fields: the file's top level, undecoded, since its model alone may have 30 MB."""

    fields: Mapping[str, msgspec.Raw]
    added_tokens: tuple[AddedToken, ...]

    @classmethod
    def parse(cls, data: bytes) -> "TokenizerJson":
        """Raises ValueError for what is no such file, or a kind of tokenizer that is not supported."""
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        model = msgspec.json.decode(fields.get("model", b"{}"), type=_Model).type
        if model not in _MODELS:
            raise ValueError(f"tokenizer model {model!r} is not supported; supported: {', '.join(_MODELS)}.")
        added = msgspec.json.decode(fields.get("added_tokens", b"[]"), type=tuple[AddedToken, ...])
        return cls(fields, added)

    def build_encoders(self) -> tuple[Encoder, Encoder | None]:
        """For a text's beginning, and for what follows a control token if that is treated differently.

        Neither recognises control tokens, cuts a text short or pads it.
        """
        fields = {**self.fields, "truncation": msgspec.Raw(b"null"), "padding": msgspec.Raw(b"null")}
        encoder, later = _encoder(fields), None
        if any(step.get("prepend_scheme") == "first" for step in self._steps("pre_tokenizer")):
            changed = self.fields["pre_tokenizer"]
            tree = msgspec.json.decode(changed)
            for step in _flat(tree):
                if step.get("prepend_scheme") == "first":
                    step["prepend_scheme"] = "never"
            later = _encoder({**fields, "pre_tokenizer": msgspec.Raw(msgspec.json.encode(tree))})
        return encoder, later

    def tokens(self, encoder: Encoder) -> list[str]:
        """By id; "" where an id stands for nothing."""
        ids = encoder.get_vocab(with_added_tokens=True)
        size = max(ids.values(), default=-1) + 1
        if size > len(ids) + MAX_UNUSED_IDS:
            raise ValueError(f"it has {len(ids)} tokens and ids up to {size - 1}.")
        tokens = [""] * size
        for token, token_id in ids.items():
            tokens[token_id] = token
        for added in self.added_tokens:
            if not 0 <= added.id < size:
                raise ValueError(f"the added token {added.content!r} has the id {added.id}.")
            tokens[added.id] = added.content
        return tokens

    def spelling(self) -> Spelling:
        steps = [*self._steps("decoder"), *self._steps("pre_tokenizer")]
        kinds = {step.get("type") for step in steps}
        if "ByteLevel" in kinds:
            return Spelling.BYTE_LEVEL
        marks = any(step.get("type") == "Replace" and step.get("content") == " " for step in steps)
        if marks or "Metaspace" in kinds:
            return Spelling.SENTENCEPIECE
        raise ValueError("its decoder is neither byte-level nor SentencePiece's; no other is supported.")

    def adds_token_in_front(self, encoder: Encoder, token_id: int | None) -> bool:
        """Does the file's post-processor begin a prompt with this token?"""
        with refusals("its post_processor cannot be used"):
            first = encoder.encode("", add_special_tokens=True).ids[:1]
        return bool(first == [token_id])

    def _steps(self, field: str) -> Iterator[dict[str, Any]]:
        return _flat(msgspec.json.decode(self.fields.get(field, b"null")))


def _flat(step: Any) -> Iterator[dict[str, Any]]:
    """A step, or those of a sequence."""
    if isinstance(step, dict):
        yield step
        for name in _STEPS:
            for inner in step.get(name) or ():
                yield from _flat(inner)


def _encoder(fields: Mapping[str, msgspec.Raw]) -> Encoder:
    with refusals("the tokenizer cannot be built"):
        encoder = Encoder.from_buffer(msgspec.json.encode(fields))
    encoder.encode_special_tokens = True  # that is: as text
    return encoder
