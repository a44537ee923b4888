import itertools

from hypothesis import given
from hypothesis import strategies as st

from octavo.engine.suspects import MAX_KILLS, DeathCause, FatalStep, Suspects


def step(requests: str, newcomers: str = "", num_ended: int = 0) -> FatalStep[str]:
    """Requests are letters; num_ended more were in the step and have ended since."""
    size = len(requests) + num_ended
    return FatalStep(tuple(requests), tuple(newcomers), size, len(newcomers))


def suspected(suspects: Suspects[str]) -> str:
    return "".join(letter for letter in "abcdefgh" if suspects.is_suspect(letter))


def test_the_newcomers_of_the_fatal_step_are_suspects_and_nobody_is_guilty_yet() -> None:
    suspects: Suspects[str] = Suspects()
    assert suspects.judge(DeathCause.CRASH, step("abcd", "bd")) is None
    assert suspected(suspects) == "bd"
    suspects.acquit("b")
    assert suspected(suspects) == "d"


def test_without_newcomers_all_are_suspects() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.HANG, step("abc"))
    assert suspected(suspects) == "abc"


def test_if_the_newcomers_have_ended_meanwhile_nobody_is_suspect() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.CRASH, FatalStep(("a", "b"), (), num_requests=3, num_newcomers=1))
    assert suspected(suspects) == ""


def test_a_suspect_that_dies_alone_is_guilty() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.CRASH, step("abc", "c"))
    assert suspects.judge(DeathCause.CRASH, step("c", "c")) == "c"


def test_dying_alone_at_first_is_no_guilt() -> None:
    suspects: Suspects[str] = Suspects()
    assert suspects.judge(DeathCause.CRASH, step("a", "a")) is None
    assert suspects.judge(DeathCause.CRASH, step("a", "a")) == "a"


def test_one_that_has_ended_is_company() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.CRASH, step("a"))
    assert suspects.judge(DeathCause.CRASH, step("a", num_ended=1)) is None


def test_outside_kills_accuse_nobody_at_first() -> None:
    suspects: Suspects[str] = Suspects()
    for _ in range(MAX_KILLS - 1):
        assert suspects.judge(DeathCause.KILLED, step("a", "a")) is None
    for _ in range(10):
        assert suspects.judge(DeathCause.STOPPED, step("a", "a")) is None
    assert suspected(suspects) == ""


def test_a_newcomer_to_every_one_of_many_kills_is_tried_and_then_guilty() -> None:
    suspects: Suspects[str] = Suspects()
    for other in "bcd"[:MAX_KILLS]:
        assert suspects.judge(DeathCause.KILLED, step("a" + other, "a" + other)) is None
    assert suspected(suspects) == "a"
    assert suspects.judge(DeathCause.KILLED, step("a", "a")) == "a"


def test_acquitted_requests_that_die_together_again_are_separated_until_they_end() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.CRASH, step("abcdefgh"))
    for letter in "abcdefgh":
        suspects.acquit(letter)
    assert suspects.window is None
    suspects.judge(DeathCause.CRASH, step("abcdefgh"))
    assert suspects.window == 4
    suspects.judge(DeathCause.CRASH, step("abc"))
    assert suspects.window == 1
    for letter in "abcdefgh":
        assert suspects.window == 1
        suspects.forget(letter)
    assert suspects.window is None


def test_who_has_ended_is_forgotten() -> None:
    suspects: Suspects[str] = Suspects()
    suspects.judge(DeathCause.CRASH, step("a", "a"))
    suspects.forget("a")
    assert suspects.judge(DeathCause.CRASH, step("a", "a")) is None


@given(
    num_requests=st.integers(2, 8),
    killers=st.sets(st.integers(0, 7), min_size=1, max_size=3),
    is_in_company=st.booleans(),
)
def test_only_killers_are_found_guilty_and_the_deaths_come_to_an_end(
    num_requests: int, killers: set[int], is_in_company: bool
) -> None:
    """A model of engine and scheduler. is_in_company: killers are harmless alone and deadly in pairs."""
    live = "abcdefgh"[:num_requests]
    killing = {letter for index, letter in enumerate("abcdefgh") if index in killers}
    suspects: Suspects[str] = Suspects()
    guilty = set()

    def is_deadly(members: str) -> bool:
        return len(killing.intersection(members)) >= (2 if is_in_company else 1)

    for num_deaths in itertools.count():
        assert num_deaths <= 20
        waiting, fatal = live, ""
        while waiting and not fatal:
            inside = waiting[: suspects.window or len(waiting)]
            trials = [letter for letter in inside if suspects.is_suspect(letter)]
            rest = "".join(letter for letter in inside if letter not in trials)
            for members in (*trials, rest, inside):
                if is_deadly(members):
                    fatal = members
                    break
                for letter in members:
                    suspects.acquit(letter)
            else:
                waiting = waiting[len(inside) :]
                for letter in inside:
                    suspects.forget(letter)
                    live = live.replace(letter, "")
        if not fatal:
            break
        found = suspects.judge(DeathCause.CRASH, step(fatal, fatal))
        if found:
            guilty.add(found)
            suspects.forget(found)
            live = live.replace(found, "")
    assert guilty == (set() if is_in_company else killing.intersection("abcdefgh"[:num_requests]))
