import asyncio

import msgspec
import pytest

from octavo.core.block_hash import SHORT_BYTES, extend_hashes, root_hash
from octavo.core.messages import EngineStats
from octavo.core.relay import CacheEvent, KnownPrompt, PromptPrefix
from octavo.server import cache_events
from octavo.server.cache_events import MAX_TOLD_BLOCKS, CacheMirror, known_prompt


def block(letter: str) -> bytes:
    return letter.encode() * SHORT_BYTES


def change(stored: str = "", removed: str = "") -> EngineStats:
    return EngineStats(
        cached_blocks=b"".join(map(block, stored)), forgotten_blocks=b"".join(map(block, removed))
    )


class Follower:
    """Does what events say."""

    def __init__(self) -> None:
        self.blocks: set[bytes] = set()
        self.numbers: list[int] = []

    def take(self, event: CacheEvent) -> None:
        self.numbers.append(event.number)
        if event.is_reset:
            self.blocks.clear()
        for joined, act in ((event.removed, self.blocks.discard), (event.stored, self.blocks.add)):
            for start in range(0, len(joined), SHORT_BYTES):
                act(joined[start : start + SHORT_BYTES])


def test_a_reader_knows_what_the_engine_knows() -> None:
    mirror, follower = CacheMirror(), Follower()
    mirror.observe_step(0, change("ab"))
    with mirror.reading() as reader:
        follower.take(reader.take())
        assert follower.blocks == {block("a"), block("b")}
        mirror.observe_step(0, change("c", "a"))
        mirror.observe_step(0, change("a", "b"))
        mirror.observe_step(0, EngineStats())
        follower.take(reader.take())
        assert follower.blocks == {block("a"), block("c")}
        assert reader.take() == CacheEvent(2)
    assert follower.numbers == [0, 1]


def test_a_new_engine_begins_with_nothing() -> None:
    mirror, follower = CacheMirror(), Follower()
    with mirror.reading() as reader:
        mirror.observe_step(0, change("ab"))
        follower.take(reader.take())
        mirror.observe_step(1, change("z"))
        event = reader.take()
        follower.take(event)
        assert event.is_reset and follower.blocks == {block("z")}


def test_who_falls_too_far_behind_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_events, "MAX_PENDING", 3)
    mirror = CacheMirror()
    with mirror.reading() as reader:
        reader.take()
        mirror.observe_step(0, change("abc"))
        mirror.observe_step(0, change("d", "a"))
        event = reader.take()
        assert event.is_reset and len(event.stored) == 3 * SHORT_BYTES


async def first_lines(mirror: CacheMirror, count: int) -> list[CacheEvent]:
    events: list[CacheEvent] = []
    async for line in mirror.lines(lambda: len(events) == count):
        events.append(msgspec.json.decode(line, type=CacheEvent))
        mirror.observe_step(0, change("abcdefgh"[len(events)]))
    return events


def test_lines_come_with_the_news() -> None:
    events = asyncio.run(first_lines(CacheMirror(), 3))
    assert [event.stored for event in events] == [b"", block("b"), block("c")]


def test_without_news_there_are_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_events, "SIGN_OF_LIFE_SECONDS", 0.01)

    async def run() -> list[bytes]:
        lines: list[bytes] = []
        async for line in CacheMirror().lines(lambda: len(lines) == 2):
            lines.append(line)
        return lines

    assert msgspec.json.decode(asyncio.run(run())[1], type=CacheEvent) == CacheEvent(1)


@pytest.mark.parametrize("num_blocks", [0, 1, MAX_TOLD_BLOCKS, 2 * MAX_TOLD_BLOCKS])
def test_the_blocks_of_a_prompt_are_those_of_its_beginning(num_blocks: int) -> None:
    prompt = list(range(16 * num_blocks))
    told = known_prompt(PromptPrefix(64 * num_blocks, b"chunks--"), "ab12", "salt", prompt)
    hashes: list[bytes] = []
    extend_hashes(hashes, root_hash(b"\xab\x12", salt="salt"), prompt)
    num_told = min(num_blocks, MAX_TOLD_BLOCKS)
    blocks = b"".join(one[:SHORT_BYTES] for one in hashes[:num_told])
    assert told == KnownPrompt(64 * num_told, b"chunks--", blocks)


def prompt(letter: str, blocks: str = "") -> KnownPrompt:
    return KnownPrompt(256, block(letter), b"".join(map(block, blocks)))


def test_every_reader_is_told_of_every_prompt_once() -> None:
    mirror = CacheMirror()
    mirror.observe_prompt(prompt("a", "xy"))
    with mirror.reading() as early:
        assert early.take().prompts == [prompt("a", "xy")]
        mirror.observe_prompt(prompt("a", "xy"))
        assert early.take().prompts == []
        mirror.observe_prompt(prompt("b"))
        mirror.observe_prompt(prompt("a", "xyz"))
        assert early.take().prompts == [prompt("b"), prompt("a", "xyz")]
        with mirror.reading() as late:
            assert late.take().prompts == [prompt("b"), prompt("a", "xyz")]


def test_the_prompt_asked_longest_ago_is_forgotten() -> None:
    mirror = CacheMirror(max_prompt_bytes=4 * SHORT_BYTES)
    with mirror.reading() as reader:
        for letter in "abac":
            mirror.observe_prompt(prompt(letter, "x"))
        assert reader.take().prompts == [prompt("a", "x"), prompt("c", "x")]


def test_who_does_not_read_is_told_all_prompts_anew_in_the_end() -> None:
    mirror = CacheMirror(max_prompt_bytes=4 * SHORT_BYTES)
    with mirror.reading() as reader:
        reader.take()
        for letter in "abcdef":
            mirror.observe_prompt(prompt(letter, "x"))
        event = reader.take()
        assert event.is_reset and event.prompts == [prompt("e", "x"), prompt("f", "x")]
