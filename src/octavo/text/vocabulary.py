"""The tokens of a model: which are ordinary, which control it, which end an answer, and the bytes of each.

Built from GGUF metadata or a model directory; immutable; shared by tokenizer, detokenizer and chat template.
"""

import enum
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence

from octavo.core.errors import ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.end_tokens import CONTROL_TYPES, USER_DEFINED_TYPE, ends_an_answer, named_end_ids
from octavo.text.infill import InfillTokens, infill_of_gguf, infill_of_names


class Spelling(enum.Enum):
    """How an ordinary token's name spells the text it stands for."""

    BYTE_LEVEL = "byte-level BPE"  # GPT-2's alphabet: a character for each byte
    SENTENCEPIECE = "SentencePiece BPE"  # the text, a low line for a space; <0x00> to <0xFF> are bytes


SPACE_MARK = "\u2581"  # SentencePiece's low line
BYTE_NAMES = tuple(f"<0x{byte:02X}>" for byte in range(256))  # SentencePiece's names of bytes


def _byte_alphabet() -> str:
    """GPT-2's printable stand-in for each byte: itself where it prints, else a character from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    substitutes = itertools.count(0x100)
    return "".join(chr(byte if byte in printable else next(substitutes)) for byte in range(256))


BYTE_ALPHABET = _byte_alphabet()
_BYTE_OF_CHARACTER = {ord(character): byte for byte, character in enumerate(BYTE_ALPHABET)}

# tokenizer.ggml.model -> spelling, and the ids of the begin and end tokens where the file names none.
_GGUF_MODELS = {"gpt2": (Spelling.BYTE_LEVEL, None, None), "llama": (Spelling.SENTENCEPIECE, 1, 2)}


def vocabulary_hash(token_bytes: Sequence[bytes]) -> str:
    """Where it is the same, token ids stand for the same bytes."""
    digest = hashlib.sha256()
    for token in token_bytes:
        digest.update(b"%d %b" % (len(token), token))
    return digest.hexdigest()[:32]


class Vocabulary:
    """tokens by id, as the file has them: ordinary ones in the vocabulary's spelling, others as plain text.

    ids                by token; an id that stands for nothing has the token "" and is not among them
    control_ids        steer the model; only the chat template and raw prompts may produce them
    user_defined_ids   plain text that is one token wherever it appears
    end_ids            end an answer: named by the file, or control tokens known to do so
    lstrip_ids, rstrip_ids   control tokens that swallow the white space before or after them
    infill             the tokens for filling in the middle, if there are any
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
        lstrip_ids: Iterable[int] = (),
        rstrip_ids: Iterable[int] = (),
        spelling: Spelling = Spelling.BYTE_LEVEL,
        infill: InfillTokens | None = None,
    ) -> None:
        """Raises ValueError for a token listed twice, or an ordinary one outside the byte alphabet."""
        self.tokens = list(tokens)
        self.ids = {token: token_id for token_id, token in enumerate(self.tokens)}
        num_empty = self.tokens.count("")
        if len(self.ids) != len(self.tokens) - max(num_empty - 1, 0):
            raise ValueError("the vocabulary lists a token twice.")
        self.ids.pop("", None)
        self.control_ids = frozenset(control_ids)
        self.user_defined_ids = frozenset(user_defined_ids)
        self.bos_id = bos_id
        self.eos_id = eos_id
        named = (token_id for token_id in self.control_ids if ends_an_answer(self.tokens[token_id]))
        self.end_ids = frozenset(token_id for token_id in (*named, *end_ids) if token_id < len(self.tokens))
        self.lstrip_ids = frozenset(lstrip_ids)
        self.rstrip_ids = frozenset(rstrip_ids)
        self.spelling = spelling
        self.infill = infill or infill_of_names(self.ids)
        self.token_bytes = _spell(self)

    @classmethod
    def of_gguf(cls, metadata: ModelMetadata) -> "Vocabulary":
        """Raises ModelFileError, naming the metadata key that is missing or inconsistent."""
        model = metadata.text("tokenizer.ggml.model")
        if model not in _GGUF_MODELS:
            known = ", ".join(_GGUF_MODELS)
            raise ModelFileError(
                f"{metadata.source}: tokenizer model {model!r} is not supported; supported: {known}."
            )
        spelling, bos_id, eos_id = _GGUF_MODELS[model]
        tokens = metadata.strings("tokenizer.ggml.tokens")
        types = metadata.integers("tokenizer.ggml.token_type", [1] * len(tokens))
        if len(types) != len(tokens):
            raise ModelFileError(f"{metadata.source}: {len(types)} token types for {len(tokens)} tokens.")
        control_ids = [token_id for token_id, kind in enumerate(types) if kind in CONTROL_TYPES]
        try:
            return cls(
                tokens,
                control_ids=control_ids,
                user_defined_ids=(i for i, kind in enumerate(types) if kind == USER_DEFINED_TYPE),
                bos_id=metadata.token_id("tokenizer.ggml.bos_token_id", len(tokens), bos_id),
                eos_id=metadata.token_id("tokenizer.ggml.eos_token_id", len(tokens), eos_id),
                end_ids=named_end_ids(metadata, len(tokens)),
                rstrip_ids=_rstrip_ids(metadata, {i: tokens[i] for i in control_ids}, spelling),
                spelling=spelling,
                infill=infill_of_gguf(metadata, len(tokens)),
            )
        except ValueError as error:
            raise ModelFileError(f"{metadata.source}: {error}") from error

    def __len__(self) -> int:
        return len(self.tokens)


def _rstrip_ids(metadata: ModelMetadata, control: Mapping[int, str], spelling: Spelling) -> list[int]:
    """Phi-3's own tokenizer lets most control tokens swallow white space; GGUF has no key that says so."""
    is_phi3 = metadata.text("general.architecture", "") == "phi3" and spelling is Spelling.SENTENCEPIECE
    keeping = ("<unk>", "<s>", "<|endoftext|>")
    return [token_id for token_id, name in control.items() if name not in keeping] if is_phi3 else []


def _spell(vocabulary: Vocabulary) -> list[bytes]:
    """By id, the bytes of the text each token stands for; for a control token, of its name."""
    tokens, plain = vocabulary.tokens, vocabulary.control_ids | vocabulary.user_defined_ids
    ordinary = ["" if token_id in plain else token for token_id, token in enumerate(tokens)]
    if vocabulary.spelling is Spelling.BYTE_LEVEL:
        table = _spell_byte_level(ordinary)
    else:
        table = _spell_sentencepiece(ordinary, vocabulary.ids)
    for token_id in plain:
        table[token_id] = tokens[token_id].encode()
    return table


def _spell_byte_level(ordinary: list[str]) -> list[bytes]:
    joined = "".join(ordinary)
    foreign = set(joined) - set(BYTE_ALPHABET)
    if foreign:
        token = next(token for token in ordinary if not foreign.isdisjoint(token))
        raise ValueError(f"the token {token!r} is not spelled in the byte alphabet of a gpt2 tokenizer.")
    # One pass over all tokens: each character is one byte, so lengths carry over.
    spelled = joined.translate(_BYTE_OF_CHARACTER).encode("latin-1")
    ends = list(itertools.accumulate(map(len, ordinary), initial=0))
    return [spelled[start:end] for start, end in itertools.pairwise(ends)]


def _spell_sentencepiece(ordinary: list[str], ids: Mapping[str, int]) -> list[bytes]:
    table = [token.replace(SPACE_MARK, " ").encode() for token in ordinary]
    for byte, name in enumerate(BYTE_NAMES):
        token_id = ids.get(name)
        if token_id is not None:
            table[token_id] = bytes([byte])
    return table
