"""What a member says while it starts, or while it ends as it was asked to. Who watches the fleet is spared
it, unless something goes wrong, but for warnings, and for notes that no other member has made; the member's
log has it all.
"""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable

from octavo.fleet.member import Member
from octavo.server.boot_report import NOTE

MAX_HELD_LINES = 200  # of a member: the last
LATE_SECONDS = 0.5  # after a member was found to be ready, what it said before may still be on its way
_URGENT = ("WARNING:", "ERROR:", "CRITICAL:")  # as http/process.py has the log


@dataclasses.dataclass(slots=True)
class _Held:
    lines: collections.deque[str] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=MAX_HELD_LINES)
    )
    until: float = math.inf  # on the clock


class HeldLines:
    """take() may be called from any thread."""

    def __init__(
        self, show: Callable[[str, str], None], router: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """show gets (name, line). router: who tells how the others start, and is held until all have."""
        self._show = show
        self._router = router
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._has_router_started = False
        self._notes: set[str] = set()
        self._lock = threading.Lock()

    def take(self, name: str, text: str) -> None:
        """A line of a member's output."""
        with self._lock:
            held = self._held.get(name)
            if held is not None and self._clock() < held.until and not self._is_news(text):
                held.lines.append(text)
                return
        self._show(name, text)

    def _is_news(self, text: str) -> bool:
        if text.startswith(NOTE) and text not in self._notes:
            self._notes.add(text)
            return True
        return text.startswith(_URGENT)

    def observe(self, member: Member) -> None:
        """A member's new state."""
        name, state = member.name, member.state
        is_bad = state in ("waiting", "unready") or (state == "ended" and bool(member.reason))
        with self._lock:
            held = self._held.get(name)
            if name == self._router:
                self._has_router_started = state == "ready"
            if state in ("starting", "stopping"):
                if held is None or held.until < math.inf:
                    self._held[name] = _Held()
            elif state != "ready":
                self._held.pop(name, None)
            elif held is not None and name != self._router:
                held.until = self._clock() + LATE_SECONDS
            self._let_go_of_the_router()
        if is_bad and held is not None and self._clock() < held.until:
            self._show_all(member, held)

    def _let_go_of_the_router(self) -> None:
        """Once everybody has started."""
        router = self._held.get(self._router)
        others = [held for name, held in self._held.items() if name != self._router]
        is_due = self._has_router_started and all(held.until < math.inf for held in others)
        if is_due and router is not None and router.until == math.inf:
            router.until = self._clock() + LATE_SECONDS

    def _show_all(self, member: Member, held: _Held) -> None:
        """But for the last words that the member's reason quotes."""
        lines = list(held.lines)
        if (member.exit_code or 0) > 0 and lines[-1:] == [member.last_line]:
            lines.pop()
        for text in lines:
            self._show(member.name, text)
