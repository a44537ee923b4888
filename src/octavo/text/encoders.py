"""Builds encoders of the `tokenizers` library, text to token ids, from what a model's files say.

An encoder knows the ordinary and the user-defined tokens of a vocabulary and never gives a control token,
whatever the text.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tokenizers import AddedToken, Encoding, normalizers
from tokenizers import Tokenizer as Encoder
from tokenizers.models import BPE

from octavo.core.errors import InvalidRequestError, ModelFileError
from octavo.core.metadata import ModelMetadata
from octavo.text.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from octavo.text.vocabulary import BYTE_NAMES, SPACE_MARK, Vocabulary

MAX_TOKEN_LENGTH = 1024  # characters, of one that is made by merges: each place to cut it in two is looked at


@contextlib.contextmanager
def refusals(problem: str) -> Iterator[None]:
    """What the library raises while the block runs becomes a ValueError. It raises plain Exception, and where
    it has not looked at what it was given, a panic, which is none."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"{problem}: {error}.") from error
        raise


def encode(encoder: Encoder, text: str, *, has_positions: bool = False) -> Encoding:
    """has_positions: the characters that each token begins and ends at are wanted too, which takes longer.

    Always as a batch of one: otherwise the library holds the GIL, and everybody up, for as long as it takes.
    Raises InvalidRequestError for half a surrogate pair, and for what the encoder has no token for, not even
    one that stands for the unknown.
    """
    encode_batch = encoder.encode_batch if has_positions else encoder.encode_batch_fast
    try:
        return encode_batch([text], add_special_tokens=False)[0]
    except TypeError as error:  # the library's answer to a string that has no UTF-8
        raise InvalidRequestError("The text holds half of a surrogate pair, which is no text.") from error
    except Exception as error:  # it raises nothing more special
        raise InvalidRequestError(f"The model's tokenizer has no tokens for the text: {error}.") from error


def pre_tokenizer_of_gguf(metadata: ModelMetadata) -> PreTokenizer:
    """Raises ModelFileError for one that is not supported, naming it."""
    name = metadata.text("tokenizer.ggml.pre")
    if name not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise ModelFileError(
            f"{metadata.source}: pre-tokenizer {name!r} is not supported; supported: {known}."
        )
    return PRE_TOKENIZERS[name]


def byte_level_encoder(
    vocabulary: Vocabulary, merges: Sequence[tuple[str, str]], pre_tokenizer: PreTokenizer
) -> Encoder:
    """merges: best first. Raises ValueError for one whose parts or result are no tokens."""
    with refusals("the tokenizer's merges do not fit its tokens"):
        model = BPE(
            vocab=_without_control(vocabulary),
            merges=list(merges),
            fuse_unk=False,
            byte_fallback=False,
            ignore_merges=pre_tokenizer.is_whole_word_first,
        )
    encoder = Encoder(model)
    encoder.pre_tokenizer = pre_tokenizer.build()
    normalizer = pre_tokenizer.build_normalizer()
    if normalizer is not None:
        encoder.normalizer = normalizer
    return _with_user_defined(encoder, vocabulary)


def sentencepiece_encoder(
    vocabulary: Vocabulary, scores: Sequence[float], *, adds_space_prefix: bool
) -> Encoder:
    """SentencePiece's BPE: of all neighbours whose union is a token, those with the best score merge first.

    adds_space_prefix: a text begins with a space, as does what follows a control or user-defined token.
    Raises ValueError for a token that is too long.
    """
    plain = vocabulary.control_ids | vocabulary.user_defined_ids
    bytes_found = {name: vocabulary.ids[name] for name in BYTE_NAMES if name in vocabulary.ids}
    ordinary = {
        token: scores[token_id]
        for token, token_id in vocabulary.ids.items()
        if token_id not in plain and token not in bytes_found
    }
    longest = max(map(len, ordinary), default=0)
    if longest > MAX_TOKEN_LENGTH:
        raise ValueError(f"a token has {longest} characters; allowed: {MAX_TOKEN_LENGTH}.")
    model = BPE(
        vocab=_without_control(vocabulary),
        merges=merges_of_scores(ordinary),
        byte_fallback=len(bytes_found) == len(BYTE_NAMES),
        cache_capacity=0,  # nothing cuts a text into words: the cache would keep whole texts
    )
    encoder = Encoder(model)
    mark_spaces: normalizers.Normalizer = normalizers.Replace(" ", SPACE_MARK)
    if adds_space_prefix:
        mark_spaces = normalizers.Sequence([normalizers.Prepend(SPACE_MARK), mark_spaces])
    encoder.normalizer = mark_spaces
    return _with_user_defined(encoder, vocabulary)


def merges_of_scores(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every two tokens that make a third, best first: by the third's score, then the longer left part.

    Python's slices and look-ups: a vocabulary of 262,144 tokens has half a million merges.
    """
    merges = []
    for token in sorted(scores, key=scores.__getitem__, reverse=True):
        for end in range(len(token) - 1, 0, -1):
            left = token[:end]
            if left in scores:
                right = token[end:]
                if right in scores:
                    merges.append((left, right))
    return merges


def _without_control(vocabulary: Vocabulary) -> dict[str, int]:
    ids = dict(vocabulary.ids)
    for token_id in vocabulary.control_ids:
        ids.pop(vocabulary.tokens[token_id], None)
    return ids


def _with_user_defined(encoder: Encoder, vocabulary: Vocabulary) -> Encoder:
    user_defined = [vocabulary.tokens[token_id] for token_id in sorted(vocabulary.user_defined_ids)]
    encoder.add_tokens([AddedToken(token, normalized=False) for token in user_defined if token])
    return encoder
