"""The text side of a model directory as Hugging Face lays it out: tokenizer, special tokens, chat template.

Reads tokenizer.json or, where there is none, SentencePiece's tokenizer.model; tokenizer_config.json,
generation_config.json, config.json and chat_template.jinja. JSON is data: it names no code that would be run.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from tokenizers import Tokenizer as Encoder

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.encoders import sentencepiece_encoder
from octavo.text.end_tokens import CONTROL_TYPES, USER_DEFINED_TYPE, ends_an_answer
from octavo.text.sentencepiece_model import SentencePieceModel
from octavo.text.tokenizer_json import AddedToken, TokenizerJson
from octavo.text.vocabulary import Spelling, Vocabulary

MAX_FILE_BYTES = 1 << 28  # of any one of these files; the largest of today have 35 MB

Decoded = TypeVar("Decoded")


@dataclasses.dataclass(frozen=True, slots=True)
class TokenizerParts:
    vocabulary: Vocabulary
    encoder: Encoder
    later_encoder: Encoder | None  # for what follows a control token, where that differs
    adds_bos: bool


class TokenizerDirectory:
    """Files are read when they are first needed. Whatever is wrong with one is a ModelFileError."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def read(self) -> TokenizerParts:
        if self._has("tokenizer.json"):
            return self._read_json()
        if self._has("tokenizer.model"):
            return self._read_sentencepiece()
        raise ModelFileError(
            f"{self._path}: it has neither tokenizer.json nor tokenizer.model. Put tokenizer.json beside "
            "config.json; transformers writes it: AutoTokenizer.from_pretrained(...).save_pretrained(...)."
        )

    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: named by a configuration, or control tokens known to do so."""
        if not self._has("tokenizer.json"):
            return self.read().vocabulary.end_ids
        return self._end_ids_of(self._tokenizer_json.added_tokens)

    def chat_template(self) -> str | None:
        """The template's source; of several, that of the one named default."""
        if self._has("chat_template.jinja"):
            return self._decode("chat_template.jinja", lambda data: data.decode())
        template = self._config.values.get("chat_template")
        if isinstance(template, list):
            named = {item.get("name"): item.get("template") for item in template if isinstance(item, dict)}
            template = named.get("default")
        if template is not None and not isinstance(template, str):
            raise self._config.error("chat_template", template, "a string, or a list of names and templates")
        return template

    def _read_json(self) -> TokenizerParts:
        source, json = str(self._path / "tokenizer.json"), self._tokenizer_json
        try:
            encoder, later_encoder = json.build_encoders()
            tokens = json.tokens(encoder)
            ids = {token: token_id for token_id, token in enumerate(tokens)}
            added = json.added_tokens
            vocabulary = Vocabulary(
                tokens,
                control_ids=(token.id for token in added if token.special),
                user_defined_ids=(token.id for token in added if not token.special),
                bos_id=ids.get(self._special_token("bos_token") or ""),
                eos_id=ids.get(self._special_token("eos_token") or ""),
                end_ids=self._end_ids_of(added),
                lstrip_ids=(token.id for token in added if token.special and token.lstrip),
                rstrip_ids=(token.id for token in added if token.special and token.rstrip),
                spelling=json.spelling(),
            )
            begins = json.adds_token_in_front(encoder, vocabulary.bos_id)
        except ValueError as error:
            raise ModelFileError(f"{source}: {error}") from error
        adds_bos = self._config.flag("add_bos_token", begins)
        return TokenizerParts(vocabulary, encoder, later_encoder, adds_bos)

    def _read_sentencepiece(self) -> TokenizerParts:
        source = str(self._path / "tokenizer.model")
        try:
            model = self._decode("tokenizer.model", SentencePieceModel.parse)
            tokens, types = list(model.tokens), list(model.types)
            ids = {token: token_id for token_id, token in enumerate(tokens)}
            vocabulary = Vocabulary(
                tokens,
                control_ids=(i for i, kind in enumerate(types) if kind in CONTROL_TYPES),
                user_defined_ids=(i for i, kind in enumerate(types) if kind == USER_DEFINED_TYPE),
                bos_id=ids.get(self._special_token("bos_token") or "<s>"),
                eos_id=ids.get(self._special_token("eos_token") or "</s>"),
                end_ids=self._named_end_ids,
                spelling=Spelling.SENTENCEPIECE,
            )
            encoder = sentencepiece_encoder(
                vocabulary, model.scores, adds_space_prefix=model.adds_space_prefix
            )
        except ValueError as error:
            raise ModelFileError(f"{source}: {error}") from error
        return TokenizerParts(vocabulary, encoder, None, self._config.flag("add_bos_token", True))

    def _end_ids_of(self, added_tokens: tuple[AddedToken, ...]) -> frozenset[int]:
        eos = self._special_token("eos_token")
        known = (
            token.id
            for token in added_tokens
            if token.content == eos or (token.special and ends_an_answer(token.content))
        )
        return frozenset((*self._named_end_ids, *known))

    @functools.cached_property
    def _named_end_ids(self) -> frozenset[int]:
        found: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            metadata = self._json(name)
            value = metadata.values.get("eos_token_id")
            for token_id in value if isinstance(value, list) else [value]:
                if type(token_id) is int and token_id >= 0:
                    found.add(token_id)
                elif token_id is not None:
                    raise metadata.error("eos_token_id", value, "a token id, or a list of token ids")
        return frozenset(found)

    def _special_token(self, key: str) -> str | None:
        """bos_token or eos_token: a text, or an object whose content is one."""
        for metadata in (self._config, self._json("special_tokens_map.json")):
            value = metadata.values.get(key)
            content = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(content, str):
                return content
            if value is not None:
                raise metadata.error(key, value, "a token")
        return None

    @functools.cached_property
    def _config(self) -> ModelMetadata:
        return self._json("tokenizer_config.json")

    @functools.cached_property
    def _tokenizer_json(self) -> TokenizerJson:
        return self._decode("tokenizer.json", TokenizerJson.parse)

    def _json(self, name: str) -> ModelMetadata:
        """The object in a file, empty where there is no such file."""
        values: dict[str, Any] = {}
        if self._has(name):
            values = self._decode(name, lambda data: msgspec.json.decode(data, type=dict[str, Any]))
        return ModelMetadata(str(self._path / name), values)

    def _has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def _decode(self, name: str, decode: Callable[[bytes], Decoded]) -> Decoded:
        path = self._path / name
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise ModelFileError(f"{path}: it has {size} bytes; allowed: {MAX_FILE_BYTES}.")
            return decode(path.read_bytes())
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, not of the expected form
            raise ModelFileError(f"{path}: {error}") from error
