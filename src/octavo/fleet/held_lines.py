"""What a member says while it starts, or while it ends as it was asked to. Who watches the fleet is spared
it, unless something goes wrong; the member's log has it.
"""

import collections
import threading
from collections.abc import Callable

from octavo.fleet.member import Member

MAX_HELD_LINES = 200  # of a member: the last
_URGENT = ("WARNING:", "ERROR:", "CRITICAL:")  # as http/process.py has the log


class HeldLines:
    """take() may be called from any thread."""

    def __init__(self, show: Callable[[str, str], None], router: str) -> None:
        """show gets (name, line). router: who tells how the others start, and is held until all have."""
        self._show = show
        self._router = router
        self._held: dict[str, collections.deque[str]] = {}
        self._has_router_started = False
        self._lock = threading.Lock()

    def take(self, name: str, text: str) -> None:
        """A line of a member's output."""
        with self._lock:
            lines = self._held.get(name)
            if lines is not None and not text.startswith(_URGENT):
                lines.append(text)
                return
        self._show(name, text)

    def observe(self, member: Member) -> None:
        """A member's new state."""
        name, state = member.name, member.state
        is_well = state in ("ready", "asleep") or (state == "ended" and not member.reason)
        if name == self._router:
            self._has_router_started = state == "ready"
        if state in ("starting", "stopping"):
            self._hold(name)
        elif not is_well:
            self._show_what_was_held(member)
        elif not (name == self._router and state == "ready"):
            self._let_go(name)
        if self._has_router_started and self._held.keys() == {self._router}:
            self._let_go(self._router)

    def _show_what_was_held(self, member: Member) -> None:
        """But for the last words that the member's reason quotes."""
        lines = list(self._let_go(member.name))
        if (member.exit_code or 0) > 0 and lines[-1:] == [member.last_line]:
            lines.pop()
        for text in lines:
            self._show(member.name, text)

    def _hold(self, name: str) -> None:
        with self._lock:
            self._held.setdefault(name, collections.deque(maxlen=MAX_HELD_LINES))

    def _let_go(self, name: str) -> collections.deque[str]:
        """From now on its lines are shown. Returns those that were not."""
        with self._lock:
            return self._held.pop(name, collections.deque())
