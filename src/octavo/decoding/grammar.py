"""From a GrammarSpec to the tokens that may come next: the compiler, and a request's place in its grammar.

llguidance does the work, with the GIL released. It is imported with the first grammar: an engine that sees
none does not pay for it. Runs in the engine process.
"""

import collections
import dataclasses
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from octavo.core.errors import InvalidRequestError
from octavo.core.grammar_spec import GrammarKind, GrammarSpec, ReasoningBudget
from octavo.core.step import Masks
from octavo.core.token_constraint import TokenConstraint
from octavo.decoding.lark import to_lark
from octavo.decoding.reasoning_budget import BudgetedReasoning, Unconstrained
from octavo.text.vocabulary import Vocabulary

MAX_CACHED_BYTES = 64 << 20  # of compiled grammars
MAX_CACHED_GRAMMARS = 256  # each grows while it is used, up to its lexer's states of 1 to 2 KiB
LIMITS = {
    "max_grammar_size": 50_000,  # symbols
    "max_items_in_row": 5_000,  # of the parser: an object of optional properties takes four for each
    "max_lexer_states": 10_000,
    "verbose_errors": False,
}
MAX_FILL_THREADS = 4

# What a compiled grammar takes, by measurement: so many bytes, and so many for each byte of its text.
_BASE_BYTES, _BYTES_PER_BYTE = 32 << 10, 200
_ERROR_LENGTH = 300
_LISTING = re.compile(r"\n *\d+ \| ")  # the grammar's text, behind an error
_PLACE = re.compile(r"^at \d+\(\d+\): (?:failed to compile JSON schema: )?")


class Matcher(Protocol):
    """What is used of llguidance.LLMatcher. It never raises: it stays in the state is_error instead."""

    def deep_copy(self) -> "Matcher": ...

    def consume_tokens(self, tokens: list[int]) -> bool: ...

    def unsafe_compute_mask_ptr(self, pointer: int, num_bytes: int) -> None: ...

    def is_stopped(self) -> bool: ...

    def is_error(self) -> bool: ...

    def get_error(self) -> str: ...


class GrammarCompiler:
    """Compiles, and remembers what it compiled, the least recently used first to go.

    load_vocabulary is called with the first grammar, once. vocab_size is the model's, which may be larger;
    end_ids end an answer. find and compile may be called from any thread.
    """

    def __init__(
        self,
        load_vocabulary: Callable[[], Vocabulary],
        vocab_size: int,
        end_ids: frozenset[int],
        *,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        self._load_vocabulary = load_vocabulary
        self._vocab_size = vocab_size
        self._end_ids = end_ids
        self._max_cached_bytes = max_cached_bytes
        self._library: _Library | None = None
        self._library_lock = threading.Lock()
        self._cache: collections.OrderedDict[GrammarSpec, Grammar] = collections.OrderedDict()
        self._cache_lock = threading.Lock()

    @property
    def num_cached_bytes(self) -> int:
        """An estimate."""
        with self._cache_lock:
            return sum(grammar.num_bytes for grammar in self._cache.values())

    def prepare(self) -> None:
        """What the first grammar needs and later ones share. Takes the GIL for about 0.2 s, once."""
        with self._library_lock:
            if self._library is None:
                self._library = _Library(self._load_vocabulary(), self._vocab_size, self._end_ids)

    def find(self, spec: GrammarSpec) -> "Startable | None":
        """The grammar, if it has been compiled lately."""
        plain = dataclasses.replace(spec, budget=None)
        if plain.kind is GrammarKind.ANYTHING:
            return None if self._library is None else self._budgeted(Anything(), spec.budget)
        with self._cache_lock:
            grammar = self._cache.get(plain)
            if grammar is not None:
                self._cache.move_to_end(plain)
        return None if grammar is None else self._budgeted(grammar, spec.budget)

    def compile(self, spec: GrammarSpec) -> "Startable":
        """Raises InvalidRequestError: not a grammar, not supported, over a limit, or nothing satisfies it."""
        self.prepare()
        assert self._library is not None
        plain = dataclasses.replace(spec, budget=None)
        if plain.kind is GrammarKind.ANYTHING:
            return self._budgeted(Anything(), spec.budget)
        grammar = self._library.compile(plain)
        self._remember(plain, grammar)
        return self._budgeted(grammar, spec.budget)

    def _budgeted(self, grammar: "Startable", budget: ReasoningBudget | None) -> "Startable":
        if budget is None:
            return grammar
        assert self._library is not None
        return Budgeted(grammar, budget, self._library.token_bytes)

    def _remember(self, spec: GrammarSpec, grammar: "Grammar") -> None:
        with self._cache_lock:
            self._cache[spec] = grammar
            num_bytes = sum(known.num_bytes for known in self._cache.values())
            while num_bytes > self._max_cached_bytes or len(self._cache) > MAX_CACHED_GRAMMARS:
                _, oldest = self._cache.popitem(last=False)
                num_bytes -= oldest.num_bytes

    def fill_masks(self, constraints: Sequence[TokenConstraint], masks: Masks) -> None:
        """Each constraint's mask into its row, on several threads. All bits are zero before."""
        states: list[tuple[GrammarState, int]] = []
        for row, constraint in enumerate(constraints):
            if isinstance(constraint, BudgetedReasoning) and constraint.forced_id is None:
                constraint = constraint.constraint
            if isinstance(constraint, GrammarState):
                states.append((constraint, row))
            else:
                constraint.fill_mask(masks[row])
        if states:
            assert self._library is not None
            self._library.fill_masks(states, masks)


class Startable(Protocol):
    def start(self, *, ignores_end: bool = False) -> TokenConstraint:
        """At the beginning of an answer. ignores_end: it goes on as long as the grammar allows."""
        ...


class Anything:
    def start(self, *, ignores_end: bool = False) -> TokenConstraint:
        return Unconstrained()


@dataclasses.dataclass(frozen=True, slots=True)
class Budgeted:
    """The same behind reasoning that is held to a budget."""

    grammar: Startable
    budget: ReasoningBudget
    token_bytes: Sequence[bytes]

    def start(self, *, ignores_end: bool = False) -> TokenConstraint:
        constraint = self.grammar.start(ignores_end=ignores_end)
        return BudgetedReasoning(self.budget, self.token_bytes, constraint)


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """Compiled. Requests share its automaton; the state is each one's own."""

    matcher: Matcher
    end_ids: tuple[int, ...]
    num_bytes: int

    def start(self, *, ignores_end: bool = False) -> "GrammarState":
        return GrammarState(self.matcher.deep_copy(), self.end_ids if ignores_end else ())


class GrammarState:
    """How far one request is in its grammar: a TokenConstraint."""

    def __init__(self, matcher: Matcher, avoided_ids: tuple[int, ...]) -> None:
        """avoided_ids may come only where nothing else may."""
        self.matcher = matcher
        self._avoided_ids = avoided_ids

    def fill_mask(self, mask: NDArray[np.uint32]) -> None:
        self.matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self.settle(mask)

    def settle(self, mask: NDArray[np.uint32]) -> None:
        """The matcher has filled the mask: what it says in an error does not count."""
        if self.matcher.is_error():
            mask[:] = 0
        elif self._avoided_ids:
            rest = mask.copy()
            for token_id in self._avoided_ids:
                rest[token_id // 32] &= ~np.uint32(1 << token_id % 32)
            if rest.any():
                mask[:] = rest

    def advance(self, token_ids: Sequence[int]) -> None:
        self.matcher.consume_tokens(list(token_ids))

    @property
    def is_finished(self) -> bool:
        return self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def failure(self) -> str | None:
        if not self.matcher.is_error():
            return None
        return f"The grammar cannot be followed further: {_sentence(self.matcher.get_error())}."


@dataclasses.dataclass(frozen=True, slots=True)
class _Tokens:
    """The vocabulary as llguidance.TokenizerWrapper reads it."""

    tokens: Sequence[bytes]
    special_token_ids: Sequence[int]
    eos_token_id: int
    bos_token_id: int | None = None

    def __call__(self, text: bytes) -> list[int]:
        """Not needed: no grammar forces tokens."""
        return []


class _Library:
    """llguidance with a vocabulary."""

    def __init__(self, vocabulary: Vocabulary, vocab_size: int, end_ids: frozenset[int]) -> None:
        import llguidance

        if not end_ids:
            raise InvalidRequestError("This model has no end-of-turn token, which a grammar needs.")
        self._library = llguidance
        self.token_bytes = vocabulary.token_bytes
        self._control_ids = {vocabulary.tokens[i]: i for i in vocabulary.control_ids if vocabulary.tokens[i]}
        self._num_mask_words = -(-vocab_size // 32)
        self._end_ids = tuple(sorted(end_ids))
        num_missing = max(0, vocab_size - len(vocabulary))
        tokens = _Tokens(
            [*vocabulary.token_bytes[:vocab_size], *[b""] * num_missing],
            sorted(i for i in vocabulary.control_ids if i < vocab_size),
            self._end_ids[0],
        )
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(tokens),
            eos_token=list(self._end_ids),
            slices=llguidance.LLTokenizer.json_slices(),
        )
        self._limits = llguidance.LLParserLimits(**LIMITS)  # type: ignore[arg-type]
        self._executor = llguidance.LLExecutor(MAX_FILL_THREADS)

    def compile(self, spec: GrammarSpec) -> Grammar:
        if spec.calls_begin is not None:
            self._check_apart(spec, spec.calls_begin)
        text = to_lark(spec, self._control_ids)
        matcher = self._matcher(text)
        grammar = Grammar(matcher, self._end_ids, _BASE_BYTES + _BYTES_PER_BYTE * len(text))
        # The first mask tells whether there is an answer at all, and is remembered for all requests.
        if not matcher.is_error():
            mask = np.zeros(self._num_mask_words, np.uint32)
            matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if matcher.is_error():
            raise InvalidRequestError(f"The grammar is refused: {_sentence(matcher.get_error())}.")
        return grammar

    def _matcher(self, text: str) -> Matcher:
        matcher: Matcher = self._library.LLMatcher(self._tokenizer, text, log_level=0, limits=self._limits)
        return matcher

    def _check_apart(self, spec: GrammarSpec, calls_begin: str) -> None:
        """Raises InvalidRequestError where a text may begin as calls do."""
        alone = dataclasses.replace(spec, calls=None, calls_begin=None, reasoning=None)
        matcher = self._matcher(to_lark(alone, self._control_ids))
        spelled = self._spelled(calls_begin)
        if spelled and not matcher.is_error() and matcher.consume_tokens(spelled):
            raise InvalidRequestError(
                f"An answer may begin with {calls_begin}, as calls do, and could not be told from them. "
                "Send no tools, or tool_choice none, or leave answers no such beginning."
            )

    def _spelled(self, text: str) -> list[int]:
        """Tokens for it, whichever: a grammar does not care. Empty where the vocabulary has none."""
        if text in self._control_ids:
            return [self._control_ids[text]]
        spelled = [bytes((byte,)) for byte in text.encode()]
        ids = {piece: token_id for token_id, piece in enumerate(self.token_bytes) if piece in spelled}
        return [ids[piece] for piece in spelled] if len(ids) == len(set(spelled)) else []

    def fill_masks(self, states: Sequence[tuple[GrammarState, int]], masks: Masks) -> None:
        """Each state's into its row."""
        matchers: Any = [(state.matcher, row) for state, row in states]
        num_rows, num_words = masks.shape
        self._executor.unsafe_compute_mask_ptr(matchers, masks.ctypes.data, 4 * num_words, num_rows)
        for state, row in states:
            state.settle(masks[row])


def _sentence(error: str) -> str:
    """llguidance's error in a line, without the text of the grammar."""
    listing = _LISTING.search(error)
    lines = error[: listing.start() if listing else None].splitlines() or ["unknown"]
    reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
    head = _PLACE.sub("", lines[0]) if reason is None else reason
    if head.startswith("NoExtension"):
        head = "nothing satisfies it"
    elif head.startswith("oneOf "):
        head = "oneOf is supported where type or a constant tells its branches apart; anyOf may do"
    return head.strip(" .:")[:_ERROR_LENGTH]
