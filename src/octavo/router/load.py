"""What an endpoint owes: what the router itself has sent there and has not got answered.

Reserved before the first byte leaves, so that a burst spreads, and given back whatever happens.
"""

ANSWERING_TOKENS = 64  # what one answer under way counts as, beside prompts that are not computed yet


class Load:
    def __init__(self) -> None:
        self.num_requests = 0
        self.num_received = 0  # requests, ever
        self.num_prompt_tokens = 0  # uncached tokens of prompts without a first token yet
        self._prompts: dict[Reservation, int] = {}  # those tokens, of each
        self._num_left = 0.0  # of all of them, as of then
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
        prompt than it has itself, or needs of it. How much of them has been computed is inferred from the
        time. What is pending counts in full all the same: who asks while a beginning is computed once may
        as well have it computed in a second place, and whoever comes after them has two to go to.
        """
        if self._as_of is not None:
            self._num_left -= max(now - self._as_of, 0.0) / seconds_per_token
        self._as_of = now
        self._num_left = min(max(self._num_left, 0.0), self.num_prompt_tokens)
        if not self.num_prompt_tokens:
            return 0.0
        share_left, num_needed = self._num_left / self.num_prompt_tokens, num_tokens + num_pending
        num_waiting = self._num_left
        if share_left * max(self._prompts.values()) > num_needed:
            num_waiting = sum(min(share_left * tokens, num_needed) for tokens in self._prompts.values())
        return max(num_waiting, min(num_pending, self.num_prompt_tokens))

    def add(self, reservation: "Reservation", num_prompt_tokens: int) -> None:
        self.num_requests += 1
        self.num_received += 1
        self.num_prompt_tokens += num_prompt_tokens
        self._num_left += num_prompt_tokens
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
