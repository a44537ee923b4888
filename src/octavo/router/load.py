"""What an endpoint owes: what the router itself has sent there and has not got answered.

Reserved before the first byte leaves, so that a burst spreads, and given back whatever happens.
"""

import math

ANSWERING_TOKENS = 64  # what one answer under way counts as, beside prompts that are not computed yet
LEFT_ERROR = 0.2  # of the tokens of unfinished prompts: how far off what is left of them by the time may be


class Load:
    def __init__(self) -> None:
        self.num_requests = 0
        self.num_received = 0  # requests, ever
        self.num_prompt_tokens = 0  # uncached tokens of prompts without a first token yet
        self._prompts: dict[Reservation, int] = {}  # those tokens, of each
        self._num_due = 0.0  # of all of them, what should be left as of then; below 0: they are late
        self._as_of: float | None = None

    @property
    def num_prompts(self) -> int:
        """Without a first token yet."""
        return len(self._prompts)

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + ANSWERING_TOKENS * self.num_requests

    def tokens_before(
        self, num_tokens: int, num_pending: int, *, now: float, seconds_per_token: float
    ) -> float:
        """How many tokens of other prompts are computed before a prompt with num_tokens of its own, if it is
        sent now. num_pending: of its beginning, which another prompt is having computed.

        Engines share a step between prompts, the shortest first, so nobody waits for more tokens of another
        prompt than it has itself, or needs of it. What is pending counts in full all the same: who asks while
        a beginning is computed once may as well have it computed in a second place, and whoever comes after
        them has two to go to. seconds_per_token: of all that the prompts there take.
        """
        if not self.num_prompt_tokens:
            self.rest(now)
            return 0.0
        num_left = self._tokens_left(now, seconds_per_token)
        share_left, num_needed = num_left / self.num_prompt_tokens, num_tokens + num_pending
        num_waiting = num_left
        if share_left * max(self._prompts.values()) > num_needed:
            num_waiting = sum(min(share_left * tokens, num_needed) for tokens in self._prompts.values())
        return max(num_waiting, min(num_pending, self.num_prompt_tokens))

    def rest(self, now: float) -> None:
        """There is no prompt to compute."""
        self._num_due, self._as_of = 0.0, now

    def _tokens_left(self, now: float, seconds_per_token: float) -> float:
        """Of all prompts without a first token, by the time and by there being none yet: the mean
        of a normal around what should be left, as far as it is above 0 (Birnbaum, "An inequality for Mill's
        ratio", 1942, bounds it so). Of what is late little is left, the less the later: late endpoints do
        not look alike.
        """
        if self._as_of is not None:
            self._num_due -= max(now - self._as_of, 0.0) / seconds_per_token
        self._as_of = now
        self._num_due = min(self._num_due, self.num_prompt_tokens)
        error = LEFT_ERROR * self.num_prompt_tokens
        return min((self._num_due + math.hypot(self._num_due, 2 * error)) / 2, self.num_prompt_tokens)

    def add(self, reservation: "Reservation", num_prompt_tokens: int) -> None:
        self.num_requests += 1
        self.num_received += 1
        self.num_prompt_tokens += num_prompt_tokens
        self._num_due = max(self._num_due, 0.0) + num_prompt_tokens  # others' being late computes none of it
        self._prompts[reservation] = num_prompt_tokens

    def compute(self, reservation: "Reservation") -> None:
        """Its prompt has been. Idempotent."""
        self.num_prompt_tokens -= self._prompts.pop(reservation, 0)


class Reservation:
    """One request's share of an endpoint's load, until the block that has it ends."""

    def __init__(self, load: Load, num_prompt_tokens: int) -> None:
        self._load = load
        load.add(self, num_prompt_tokens)

    def first_token(self) -> None:
        """The prompt is computed. Idempotent."""
        self._load.compute(self)

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.first_token()
        self._load.num_requests -= 1
