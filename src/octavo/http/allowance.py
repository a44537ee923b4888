"""What one client may still use: requests a minute, tokens a minute, requests at the same time.

A budget per minute is a bucket that holds a minute's worth and fills steadily: bursts up to the limit pass,
and nothing happens at the turn of a minute. Tokens are counted, not estimated: those of the prompt when it is
admitted, those of the answer when it has ended. So the bucket may go below zero, and the next request waits.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable

from octavo.core.errors import RateLimitError
from octavo.http.api_keys import NO_LIMITS, ApiKey, KeyLimits
from octavo.http.headers import Header, Headers

NUM_REMEMBERED_DURATIONS = 64


class Bucket:
    """Times are seconds on any one clock that only goes forward."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.capacity = per_minute
        self._level = float(per_minute)
        self._as_of = now

    def level(self, now: float) -> float:
        self._level = min(self.capacity, self._level + (now - self._as_of) * self.capacity / 60)
        self._as_of = now
        return self._level

    def seconds_until(self, level: float, now: float) -> float:
        return max(0.0, level - self.level(now)) * 60 / self.capacity

    def take(self, amount: int, now: float) -> None:
        self._level = self.level(now) - amount


class Allowance:
    """Of all requests with one key."""

    def __init__(self, limits: KeyLimits = NO_LIMITS, *, clock: Callable[[], float] = time.monotonic) -> None:
        now = clock()
        self._clock = clock
        self._requests = _bucket(limits.requests_per_minute, now)
        self._tokens = _bucket(limits.tokens_per_minute, now)
        self._concurrency = limits.concurrency
        self._arrivals: collections.deque[float] = collections.deque()  # of those under way, oldest first
        self._durations: collections.deque[float] = collections.deque(maxlen=NUM_REMEMBERED_DURATIONS)

    def enter(self) -> float:
        """One more request; leave() takes what this returns. Raises RateLimitError."""
        now = self._clock()
        if self._requests is not None and self._requests.level(now) < 1:
            limit, seconds = self._requests.capacity, self._requests.seconds_until(1, now)
            raise _over(f"This key's limit is {limit} requests per minute.", seconds)
        if self._tokens is not None and self._tokens.level(now) < 0:
            raise self._too_many_tokens(0, now)
        if self._concurrency is not None and len(self._arrivals) >= self._concurrency:
            raise _over(
                f"This key's limit is {self._concurrency} requests at the same time.",
                self._seconds_until_one_ends(now),
            )
        if self._requests is not None:
            self._requests.take(1, now)
        self._arrivals.append(now)
        return now

    def leave(self, arrival: float) -> None:
        self._arrivals.remove(arrival)
        self._durations.append(self._clock() - arrival)

    def take_prompt(self, num_tokens: int) -> None:
        """Raises RateLimitError. A prompt longer than a minute's worth passes when the bucket is full."""
        if self._tokens is None:
            return
        now = self._clock()
        wanted = min(num_tokens, self._tokens.capacity)
        if self._tokens.level(now) < wanted:
            raise self._too_many_tokens(wanted, now)
        self._tokens.take(num_tokens, now)

    def return_prompt(self, num_tokens: int) -> None:
        """What take_prompt took, of a request that is not admitted after all."""
        if self._tokens is not None:
            self._tokens.take(-num_tokens, self._clock())

    def take_answer(self, num_tokens: int) -> None:
        if self._tokens is not None:
            self._tokens.take(num_tokens, self._clock())

    def headers(self) -> Headers:
        """How much is left, as OpenAI says it."""
        now = self._clock()
        found: list[Header] = []
        for name, bucket in ((b"requests", self._requests), (b"tokens", self._tokens)):
            if bucket is not None:
                remaining = max(0, math.floor(bucket.level(now)))
                reset = format_duration(bucket.seconds_until(bucket.capacity, now))
                found += (
                    (b"x-ratelimit-limit-" + name, b"%d" % bucket.capacity),
                    (b"x-ratelimit-remaining-" + name, b"%d" % remaining),
                    (b"x-ratelimit-reset-" + name, reset.encode()),
                )
        return found

    def _too_many_tokens(self, wanted: int, now: float) -> RateLimitError:
        assert self._tokens is not None
        limit, seconds = self._tokens.capacity, self._tokens.seconds_until(wanted, now)
        return _over(f"This key's limit is {limit} tokens per minute.", seconds)

    def _seconds_until_one_ends(self, now: float) -> float:
        """If the oldest one takes as long as those before did."""
        if not self._durations:
            return 1.0
        return sum(self._durations) / len(self._durations) - (now - self._arrivals[0])


class Allowances:
    """Of every key. A key whose limits change starts anew."""

    def __init__(self, *, counts_tokens: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """counts_tokens: False where nobody knows a request's tokens; then they have no limit."""
        self._counts_tokens = counts_tokens
        self._clock = clock
        self._of: dict[str, tuple[KeyLimits, Allowance]] = {}

    def of(self, key: ApiKey) -> Allowance:
        limits = key.limits
        if not self._counts_tokens:
            limits = dataclasses.replace(limits, tokens_per_minute=None)
        known = self._of.get(key.id)
        if known is not None and known[0] == limits:
            return known[1]
        allowance = Allowance(limits, clock=self._clock)
        self._of[key.id] = (limits, allowance)
        return allowance


def _bucket(per_minute: int | None, now: float) -> Bucket | None:
    return None if per_minute is None else Bucket(per_minute, now)


def _over(message: str, seconds: float) -> RateLimitError:
    return RateLimitError(message, retry_after_seconds=max(1, math.ceil(seconds)))


def format_duration(seconds: float) -> str:
    """Rounded up, like 20ms, 3s or 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class Unlimited(Allowance):
    """Of requests that need no key. It counts nothing, so all of them may share one."""

    def enter(self) -> float:
        return 0.0

    def leave(self, arrival: float) -> None:
        pass

    def headers(self) -> Headers:
        return []


UNLIMITED = Unlimited()
