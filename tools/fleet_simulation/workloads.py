"""What clients send to a simulated fleet: when, which tokens, and what they say next."""

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator

VOCAB_SIZE = 32_000
OUTPUT_TOKENS = 64
NUM_TURNS = 6  # of a conversation


def _nothing(now: float, output_ids: list[int]) -> "Arrival | None":
    return None


@dataclasses.dataclass(slots=True)
class Arrival:
    """A request on its way into the system. follow_up: the next one of its conversation, given the answer."""

    seconds: float
    token_ids: list[int]
    session: str
    follow_up: Callable[[float, list[int]], "Arrival | None"] = _nothing


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """slowness multiplies the time of replica 0's steps."""

    name: str
    arrivals: Callable[[random.Random, int, float], Iterator[Arrival]]  # lots, replicas, requests per second
    requests_per_second: float  # a replica
    num_turns: int = 1  # requests that an arrival turns into
    slowness: float = 1.0


def _text(lots: random.Random, length: int) -> list[int]:
    return [lots.randrange(VOCAB_SIZE) for _ in range(length)]


def _poisson(lots: random.Random, rate: float) -> Iterator[float]:
    now = 0.0
    while True:
        now += lots.expovariate(rate)
        yield now


def unique(lots: random.Random, num_replicas: int, rate: float) -> Iterator[Arrival]:
    """Nothing in common."""
    for number, seconds in enumerate(_poisson(lots, rate)):
        yield Arrival(seconds, _text(lots, 512), f"s{number}")


def shared_prefixes(lots: random.Random, num_replicas: int, rate: float) -> Iterator[Arrival]:
    """Six system prompts of 1,024 tokens for each replica: no cache holds all of them. Short questions."""
    prefixes = [_text(lots, 1024) for _ in range(6 * num_replicas)]
    for seconds in _poisson(lots, rate):
        number = lots.randrange(len(prefixes))
        yield Arrival(seconds, prefixes[number] + _text(lots, 64), f"s{number}")


def hot_prefix(lots: random.Random, num_replicas: int, rate: float) -> Iterator[Arrival]:
    """Four of five share one prefix of 1,536 tokens."""
    prefix = _text(lots, 1536)
    for number, seconds in enumerate(_poisson(lots, rate)):
        is_hot = lots.random() < 0.8
        yield Arrival(seconds, (prefix if is_hot else _text(lots, 256)) + _text(lots, 64), f"s{number}")


def bursts(lots: random.Random, num_replicas: int, rate: float) -> Iterator[Arrival]:
    """Eight requests a replica at one instant, each burst with one new prefix of 768 tokens."""
    size = 8 * num_replicas
    for number, seconds in enumerate(_poisson(lots, rate / size)):
        prefix = _text(lots, 768)
        for member in range(size):
            yield Arrival(seconds, prefix + _text(lots, 128), f"s{number}.{member}")


def conversations(lots: random.Random, num_replicas: int, rate: float) -> Iterator[Arrival]:
    """Six turns each: 160 new tokens on top of everything so far, after a pause of a few seconds.

    Each has its own lots: whoever answers first, a conversation goes on in the same way.
    """

    def turn(lots: random.Random, seconds: float, token_ids: list[int], session: str, number: int) -> Arrival:
        def follow_up(now: float, output_ids: list[int]) -> Arrival | None:
            if number == NUM_TURNS:
                return None
            pause = lots.expovariate(1 / 4)
            grown = token_ids + output_ids + _text(lots, 160)
            return turn(lots, now + pause, grown, session, number + 1)

        return Arrival(seconds, token_ids, session, follow_up)

    for number, seconds in zip(itertools.count(), _poisson(lots, rate / NUM_TURNS), strict=False):
        own = random.Random(lots.random())
        yield turn(own, seconds, _text(own, 400), f"s{number}", 1)


WORKLOADS = (
    Workload("unique", unique, 3.0),
    Workload("shared prefixes", shared_prefixes, 5.0),
    Workload("one hot prefix", hot_prefix, 6.0),
    Workload("bursts", bursts, 3.5),
    Workload("conversations", conversations, 4.5, NUM_TURNS),
    Workload("one slow replica", conversations, 3.5, NUM_TURNS, slowness=3.0),
)
