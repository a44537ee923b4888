import asyncio
import base64

import msgspec
import pytest
from starlette.types import Message

from octavo.core.block_hash import SHORT_BYTES, extend_hashes, root_hash
from octavo.core.messages import EngineStats
from octavo.core.relay import PROMPT_BLOCKS_HEADER, CacheEvent
from octavo.server import cache_events
from octavo.server.cache_events import MAX_TOLD_BLOCKS, CacheMirror, telling_blocks


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


@pytest.mark.parametrize("num_blocks", [0, 1, MAX_TOLD_BLOCKS + 5])
def test_an_answer_tells_of_which_blocks_its_prompt_is(num_blocks: int) -> None:
    sent: list[Message] = []
    prompt = list(range(16 * num_blocks + 15))

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        telling = telling_blocks(send, "ab12", "salt", prompt)
        await telling({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await telling({"type": "http.response.body", "body": b"x"})

    asyncio.run(run())
    hashes: list[bytes] = []
    extend_hashes(hashes, root_hash(b"\xab\x12", salt="salt"), prompt)
    told = base64.b64decode(dict(sent[0]["headers"])[PROMPT_BLOCKS_HEADER])
    assert told == b"".join(one[:SHORT_BYTES] for one in hashes[:MAX_TOLD_BLOCKS])
    assert sent[1] == {"type": "http.response.body", "body": b"x"}
