"""Words that an answer must not hold, as the token sequences that spell them."""

from collections.abc import Sequence

from octavo.core.errors import InvalidRequestError
from octavo.core.sampling_params import MAX_BAD_WORD_TOKENS
from octavo.text.tokenizer import Tokenizer

MAX_BAD_WORDS = 512
MAX_CHARACTERS = 256  # of one


def spellings(words: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Each word as a text begins with it and as it follows a space; as vLLM, the latter only where it has as
    many tokens and another first one. Another spelling, in smaller pieces, is not found.

    Raises InvalidRequestError for a word that is empty or too long.
    """
    if len(words) > MAX_BAD_WORDS:
        raise _refusal("bad_words", f"{len(words)} words", f"at most {MAX_BAD_WORDS}")
    found: dict[tuple[int, ...], None] = {}
    for index, word in enumerate(words):
        bare = word.lstrip()
        if not bare or len(word) > MAX_CHARACTERS:
            size = f"{len(word)} characters long" if bare else "blank"
            raise _refusal(f"bad_words[{index}]", size, f"1 to {MAX_CHARACTERS} characters, not only spaces")
        first = tuple(tokenizer.encode(bare, allow_special=False))
        spaced = tuple(tokenizer.encode(f" {bare}", allow_special=False))
        if len(first) > MAX_BAD_WORD_TOKENS:
            raise _refusal(f"bad_words[{index}]", f"{len(first)} tokens long", f"{MAX_BAD_WORD_TOKENS}")
        found[first] = None
        if len(spaced) == len(first) and spaced[0] != first[0]:
            found[spaced] = None
    return tuple(found)


def _refusal(param: str, size: str, allowed: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param} is {size}; allowed: {allowed}.", param=param)
