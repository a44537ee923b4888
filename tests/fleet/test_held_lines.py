"""What is shown of a member's lines, and when."""

import pytest

from octavo.fleet.held_lines import LATE_SECONDS, MAX_HELD_LINES, HeldLines
from octavo.fleet.member import Member


class Shown:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0
        self.held = HeldLines(
            lambda name, text: self.lines.append(f"{name} {text}"), "router", clock=lambda: self.now
        )
        self.members = {name: self._member(name) for name in ("router", "r0", "r1")}

    def _member(self, name: str) -> Member:
        return Member(name, [], {}, on_line=self.held.take, on_change=self.held.observe)

    def become(self, state: str, *names: str, reason: str = "") -> None:
        for name in names:
            self.members[name].become(state, reason)

    def say(self, text: str) -> None:
        """Each of them, some time later."""
        self.now += LATE_SECONDS
        for name in self.members:
            self.held.take(name, text)


def test_what_is_said_at_a_good_start_is_not_shown_what_is_said_later_is() -> None:
    shown = Shown()
    shown.become("starting", "router", "r0", "r1")
    shown.say("boot")
    shown.become("ready", "router", "r0")
    shown.say("here")
    assert shown.lines == ["r0 here"]
    shown.become("ready", "r1")
    assert shown.lines == ["r0 here"]
    shown.say("again")
    assert shown.lines[1:] == ["router again", "r0 again", "r1 again"]


def test_what_was_said_before_and_comes_late_is_not_shown() -> None:
    shown = Shown()
    shown.become("starting", "r0")
    shown.become("ready", "r0")
    shown.held.take("r0", "boot")
    shown.say("here")
    assert shown.lines == ["router here", "r0 here", "r1 here"]


def test_what_was_said_at_a_good_start_is_not_shown_when_it_dies_later() -> None:
    shown = Shown()
    shown.become("starting", "r0")
    shown.held.take("r0", "boot")
    shown.become("ready", "r0")
    shown.say("here")
    shown.become("waiting", "r0", reason="was killed")
    assert "r0 boot" not in shown.lines


def test_a_router_is_shown_when_a_replica_cannot_start() -> None:
    shown = Shown()
    shown.become("starting", "router", "r0", "r1")
    shown.become("ready", "router", "r0")
    shown.say("one")
    shown.become("waiting", "r1", reason="was killed")
    shown.become("starting", "r1")
    shown.say("two")
    assert shown.lines == ["r0 one", "r1 one", "router two", "r0 two"]


def test_a_router_that_starts_last_or_again_is_shown_from_then_on() -> None:
    shown = Shown()
    shown.become("starting", "router", "r0")
    shown.become("ready", "r0", "router")
    shown.say("one")
    shown.become("waiting", "router", reason="was killed")
    shown.become("starting", "router")
    shown.say("two")
    shown.become("ready", "router")
    shown.say("three")
    assert [line for line in shown.lines if line.startswith("router")] == ["router one", "router three"]


@pytest.mark.parametrize("state", ["waiting", "unready"])
def test_what_was_said_at_a_bad_start_is_shown(state: str) -> None:
    shown = Shown()
    shown.become("starting", "r0")
    shown.held.take("r0", "boot")
    shown.become(state, "r0", reason="something is wrong")
    assert shown.lines == ["r0 boot"]


def test_last_words_that_the_reason_quotes_are_not_shown_twice() -> None:
    shown = Shown()
    member = shown.members["r0"]
    member.exit_code, member.last_line = 2, "octavo: no."
    shown.become("starting", "r0")
    for text in ("boot", "octavo: no."):
        shown.held.take("r0", text)
    shown.become("waiting", "r0", reason="ended with exit code 2 (no)")
    assert shown.lines == ["r0 boot"]


def test_a_good_end_is_not_shown_a_bad_one_is() -> None:
    shown = Shown()
    shown.become("stopping", "r0", "r1")
    shown.say("stopped")
    shown.become("ended", "r0")
    shown.become("ended", "r1", reason="was killed by SIGKILL")
    assert shown.lines == ["router stopped", "r1 stopped"]


def test_warnings_are_shown_at_once() -> None:
    shown = Shown()
    shown.become("starting", "r0")
    shown.held.take("r0", "WARNING: look")
    assert shown.lines == ["r0 WARNING: look"]


def test_a_note_that_all_make_is_shown_once() -> None:
    shown = Shown()
    shown.become("starting", "r0", "r1")
    for text in ("  note      not kept", "  memory    much", "  note      rounded"):
        shown.held.take("r0", text)
        shown.held.take("r1", text)
    assert shown.lines == ["r0   note      not kept", "r0   note      rounded"]


def test_no_more_lines_are_held_than_one_reads() -> None:
    shown = Shown()
    shown.become("starting", "r0")
    for number in range(2 * MAX_HELD_LINES):
        shown.held.take("r0", str(number))
    shown.become("waiting", "r0", reason="was killed")
    assert len(shown.lines) == MAX_HELD_LINES and shown.lines[-1] == f"r0 {2 * MAX_HELD_LINES - 1}"
