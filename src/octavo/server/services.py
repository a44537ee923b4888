"""What answering a request takes, whichever endpoint does it; and whether the server still takes any."""

import dataclasses
import time
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Scope

from octavo.core.messages import EngineStats
from octavo.core.sampling_params import SamplingParams
from octavo.engine.client import EngineClient
from octavo.http.body import read_json_body
from octavo.http.errors import ErrorAnswer, shutting_down
from octavo.metrics.engine_metrics import EngineMetrics
from octavo.server.cache_events import CacheMirror
from octavo.server.channels import Channels
from octavo.server.prompts import PromptEncoder
from octavo.server.served_model import ServedModel
from octavo.text.chat_abilities import ChatAbilities
from octavo.text.text_stream import TextStream


class Drain:
    """Whether this server takes no more requests because it is about to end."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self) -> None:
        self.has_begun = True

    def answer(self, reason: str = "The server is shutting down.") -> ErrorAnswer:
        return shutting_down(reason)


class NewText(Protocol):
    def __call__(
        self,
        sampling: SamplingParams,
        *,
        skip_special_tokens: bool = True,
        shown_ids: frozenset[int] = frozenset(),
        keeps_stop: bool = False,
    ) -> TextStream:
        """shown_ids: control tokens that appear in the text even if the others do not; keeps_stop: the stop
        string that ended it appears in it."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """What answering takes: made once, in replica.py."""

    engine: EngineClient
    model: ServedModel
    prompts: PromptEncoder
    abilities: ChatAbilities
    new_text: NewText
    metrics: EngineMetrics
    drain: Drain
    max_body_bytes: int
    body_timeout_seconds: float
    heartbeat_seconds: float = 0.0  # between two, while a stream waits for its first token; 0: none
    secret: str | None = None  # shared with routers; None: none is trusted
    vocabulary: str = ""  # vocabulary_hash
    is_cache_shared: bool = False  # prefix-cache blocks, between keys
    cache: CacheMirror = dataclasses.field(default_factory=CacheMirror)
    channels: Channels = dataclasses.field(default_factory=Channels)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    def is_ending(self) -> bool:
        """What fails now would not fail elsewhere."""
        return self.drain.has_begun or self.engine.fatal.done()

    def observe_step(self, epoch: int, stats: EngineStats) -> None:
        self.metrics.observe_step(stats)
        self.cache.observe_step(epoch, stats)

    async def read_body(self, scope: Scope, receive: Receive) -> bytes:
        """Raises what read_json_body does."""
        return await read_json_body(
            scope, receive, max_bytes=self.max_body_bytes, timeout_seconds=self.body_timeout_seconds
        )
