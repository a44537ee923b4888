"""Finds stop strings in a growing text, one look at each character however many strings there are.

Aho and Corasick, "Efficient string matching", 1975.
"""

import collections
import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(slots=True)
class _Node:
    """A state: the longest suffix of the text that begins a stop string. depth is its length."""

    depth: int
    next: dict[str, "_Node"] = dataclasses.field(default_factory=dict)
    fallback: "_Node | None" = None  # the longest proper suffix that begins a stop string; None at the root
    match: str | None = None  # the longest stop string that ends here


class StopMatcher:
    """Lets text through up to the first stop string to be complete; of several complete at once, the longest.

        let through so far | held back: may become a stop string | not seen yet

    push and flush together return the text before the stop string, or all of it, whatever the chunking.
    is_kept: the stop string is let through as well.
    """

    def __init__(self, stop: Sequence[str], *, is_kept: bool = False) -> None:
        self._root = _build(stop)
        self._node = self._root
        self._held = ""
        self._is_kept = is_kept
        self.matched: str | None = None  # the stop string found; nothing is let through after it

    def push(self, text: str, *, can_match: bool = True) -> str:
        """The text that is now safe to send. can_match False: stop strings text completes pass."""
        if self.matched is not None:
            return ""
        if not self._root.next:
            return text
        node = self._node
        for position, character in enumerate(text):
            while character not in node.next and node.fallback is not None:
                node = node.fallback
            node = node.next.get(character, self._root)
            if node.match is not None and can_match:
                self.matched = node.match
                before = self._held + text[: position + 1]
                self._held = ""
                return before if self._is_kept else before[: -len(node.match)]
        self._node = node
        pending = self._held + text
        cut = len(pending) - node.depth
        self._held = pending[cut:]
        return pending[:cut]

    def flush(self) -> str:
        """What was held back and did not become a stop string."""
        held, self._held, self._node = self._held, "", self._root
        return held


def _build(stop: Sequence[str]) -> _Node:
    root = _Node(0)
    for text in stop:
        node = root
        for character in text:
            node = node.next.setdefault(character, _Node(node.depth + 1))
        node.match = text
    queue = collections.deque([root])
    while queue:
        node = queue.popleft()
        for character, child in node.next.items():
            fallback = node.fallback
            while fallback is not None and character not in fallback.next:
                fallback = fallback.fallback
            child.fallback = root if fallback is None else fallback.next[character]
            child.match = child.match or child.fallback.match
            queue.append(child)
    return root
