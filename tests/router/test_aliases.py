"""A name for one model, and a name for several by shares: the same request always gets the same one."""

import collections
import itertools

import pytest

from octavo.router.aliases import Aliases
from tests.router.fake_server import fake_servers
from tests.router.routed import routed

CANARY = Aliases({"chat": {"old": 90, "new": 10}, "nick": {"old": 1}, "off": {"old": 100, "new": 0}})


def draw(name: str, key: str, served: tuple[str, ...] = ("old", "new"), aliases: Aliases = CANARY) -> str:
    return aliases.resolve(name, key.encode, lambda model: model in served)


def shares(name: str, served: tuple[str, ...] = ("old", "new")) -> dict[str, int]:
    return collections.Counter(draw(name, f"user {n}", served) for n in range(10_000))


def test_a_name_that_is_no_alias_is_itself() -> None:
    assert [draw(name, "k") for name in ("old", "nick", "other")] == ["old", "old", "other"]


def test_everybody_gets_their_share_and_always_the_same() -> None:
    assert abs(shares("chat")["new"] - 1000) < 100
    assert shares("off") == {"old": 10_000}
    assert all(draw("chat", f"user {n}") == draw("chat", f"user {n}") for n in range(50))


def test_more_for_the_new_one_moves_nobody_back_to_the_old_one() -> None:
    more = Aliases({"chat": {"old": 50, "new": 50}})
    users = [f"user {n}" for n in range(1000)]
    on_new = {user for user in users if draw("chat", user) == "new"}
    assert on_new <= {user for user in users if draw("chat", user, aliases=more) == "new"}


def test_who_is_not_served_has_no_share_unless_nobody_is() -> None:
    assert shares("chat", served=("new",)) == {"new": 10_000}
    assert set(shares("chat", served=())) == {"old", "new"}


def test_what_is_shown_is_the_largest_that_is_served() -> None:
    assert CANARY.shown(("old", "new")) == {"chat": "old", "nick": "old", "off": "old"}
    assert CANARY.shown(("new",)) == {"chat": "new", "off": "new"}


@pytest.mark.asyncio
async def test_sessions_and_users_stay_with_their_model_and_a_canary_that_is_gone_is_passed_over() -> None:
    async with fake_servers(1, ("old",)) as (old,), fake_servers(1, ("new",)) as (new,):
        aliases = {"chat": {"old": 1.0, "new": 1.0}}
        async with routed([old.url, new.url], aliases=aliases, session_key="x-user") as router:
            for user, turn in itertools.product(range(20), range(2)):
                body = {"model": "chat", "prompt": f"{user} {turn}"}
                who = {"headers": {"x-user": str(user)}} if user % 2 else {}
                body |= {} if who else {"user": str(user)}
                assert (await router.client.post("/v1/completions", json=body, **who)).is_success
            assert len(old.received) % 2 == len(new.received) % 2 == 0
            assert len(old.received) > 4 < len(new.received)
            assert all(b'"model":"new"' in one.body for one in new.received)
            router.endpoints[1].is_ready = False
            before = len(old.received)
            assert all([(await router.ask(model="chat", prompt=str(n))).is_success for n in range(10)])
            assert len(old.received) == before + 10
