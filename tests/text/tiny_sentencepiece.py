"""A small SentencePiece-style vocabulary, and the algorithm itself, written for reading and not for speed."""

import heapq
from collections.abc import Mapping, Sequence

from octavo.text.encoders import sentencepiece_encoder
from octavo.text.tokenizer import Tokenizer
from octavo.text.vocabulary import BYTE_NAMES, Spelling, Vocabulary

CONTROL = ("<unk>", "<s>", "</s>", "[INST]")
USER_DEFINED = ("<think>", "  ")
WORDS = ("▁t", "he", "▁the", "ll", "hell", "hello", "▁hello", "▁▁", "▁▁▁▁", "th", "lo", "ab", "aab", "aa")
LETTERS = ("▁", *"abehlotINS", "日", "é")
TOKENS = (*CONTROL, *BYTE_NAMES, *USER_DEFINED, *WORDS, *LETTERS)
SCORES = tuple(-float(index) for index in range(len(TOKENS)))
TYPES = [2, 3, 3, 3, *[6] * len(BYTE_NAMES), *[4] * len(USER_DEFINED), *[1] * (len(WORDS) + len(LETTERS))]
BOS, EOS = 1, 2


def vocabulary() -> Vocabulary:
    return Vocabulary(
        TOKENS,
        control_ids=range(len(CONTROL)),
        user_defined_ids=[token_id for token_id, kind in enumerate(TYPES) if kind == 4],
        bos_id=BOS,
        eos_id=EOS,
        spelling=Spelling.SENTENCEPIECE,
    )


def tokenizer(*, adds_space_prefix: bool = True) -> Tokenizer:
    tiny = vocabulary()
    encoder = sentencepiece_encoder(tiny, SCORES, adds_space_prefix=adds_space_prefix)
    return Tokenizer(tiny, encoder, adds_bos=True)


def merge_by_score(text: str, scores: Mapping[str, float]) -> list[str]:
    """SentencePiece's BPE: neighbours with the best union merge first, of equal ones the leftmost."""
    parts = list(text)
    before, after = list(range(-1, len(parts) - 1)), [*range(1, len(parts)), -1]
    queue: list[tuple[float, int, int, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and parts[left] + parts[right] in scores:
            union = parts[left] + parts[right]
            heapq.heappush(queue, (-scores[union], left, right, union))

    for right in range(1, len(parts)):
        offer(right - 1, right)
    while queue:
        _, left, right, union = heapq.heappop(queue)
        if after[left] != right or not parts[left] or parts[left] + parts[right] != union:
            continue  # one of the two has merged with another since
        parts[left], parts[right] = union, ""
        after[left] = after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [part for part in parts if part]


def ids_of(*tokens: str) -> list[int]:
    return [TOKENS.index(token) for token in tokens]


def names_of(ids: Sequence[int]) -> list[str]:
    return [TOKENS[token_id] for token_id in ids]
