"""What a step may compute besides its decodes, in tokens and predicted time. Runs in the engine process."""

from octavo.core.block_hash import BLOCK_SIZE
from octavo.core.request import Request
from octavo.scheduler.step_time import StepTimeModel

STRETCH = 1.5  # prompts may take so many times what the decodes of a step take
FIXED_TIMES = 8  # and so many times what every step costs, whatever it computes, when as many wait as decode
EXCESS = 0.015  # of a prompt's time per token, that a step may cost beside the largest one
LEAST_SHARE = 8  # an eighth of the largest step is long enough, whatever the model says
LOST_SHARE = 4  # one of so many tokens of prompts may be missing in a step so that chunks end with a block
TARGET_MARGIN = 0.9  # of a target is aimed at: predictions err, and contexts grow


class StepBudget:
    """Opened for each step, then asked for one prefill chunk after another.

    While anything decodes, chunks fit into the step's time as the model predicts it: target_itl_seconds,
    or without a target STRETCH times what the decodes take, besides them. The more wait for a first token for
    each who decodes, the more: a pause for one is less waiting for several, and short steps, mostly what
    every step costs, would be wasted on them. But prefill progresses at any load: the first chunk has a
    token, and where decodes alone miss the target it has a block. A chunk that does not finish its prompt
    ends on a block boundary where that takes no more of the step than a fourth.

    A step has just enough tokens of prompts to be efficient: with more they would be computed no faster, and
    the first of those that came together would wait for the last.

    With target_itl_seconds nobody is admitted whose decoding would make steps longer than that. With
    target_ttft_seconds prompts take of a step what their first tokens need to come in time: less than the
    above, or more where there is no target_itl_seconds.
    """

    def __init__(
        self,
        model: StepTimeModel,
        *,
        max_num_batched_tokens: int,
        target_itl_seconds: float | None = None,
        target_ttft_seconds: float | None = None,
    ) -> None:
        self._model = model
        self._max_num_batched_tokens = max_num_batched_tokens
        self._itl_seconds = target_itl_seconds and TARGET_MARGIN * target_itl_seconds
        self._ttft_seconds = target_ttft_seconds and TARGET_MARGIN * target_ttft_seconds
        self.num_tokens_left = 0
        self._decode_seconds = 0.0
        self._seconds_left: float | None = None  # None: nothing decodes, time does not matter
        self._num_granted = 0

    def has_time_for(self, request: Request, running: list[Request]) -> bool:
        """Whether request, with those that run, can decode as fast as it was asked for."""
        if self._itl_seconds is None or not running:
            return True
        count = len(running) + 1
        num_context_tokens = request.num_tokens + sum([other.num_tokens for other in running])
        return self._model.predict(count, num_context_tokens, count) <= self._itl_seconds

    def open(self, num_decodes: int, num_decode_context_tokens: int, num_waiting: int) -> None:
        """A new step, which computes one token for each of num_decodes requests.

        num_waiting: those with a prompt to compute that run or may begin to.
        """
        self.open_for_one()
        self.num_tokens_left = min(self._efficient_tokens(), self._max_num_batched_tokens - num_decodes)
        if not num_decodes:
            return
        seconds = self._model.predict(num_decodes, num_decode_context_tokens, num_decodes)
        self._decode_seconds = seconds
        if self._itl_seconds is not None:
            self._seconds_left = self._itl_seconds - seconds
            return
        num_for_each = num_waiting / num_decodes
        fixed_seconds = FIXED_TIMES * self._model.fixed_seconds * min(1.0, num_for_each)
        self._seconds_left = max(STRETCH * seconds * max(1.0, num_for_each), fixed_seconds)

    def open_for_one(self) -> None:
        """A new step, of a request that has it to itself."""
        self.num_tokens_left = self._max_num_batched_tokens
        self._num_granted = 0
        self._seconds_left = None

    @property
    def draft_seconds(self) -> float | None:
        """What a step may take that computes drafts and no prompts; None: as long as it pays."""
        return self._itl_seconds

    def _efficient_tokens(self) -> int:
        """Of prompts, in whole blocks."""
        most = self._max_num_batched_tokens
        count = max(most // LEAST_SHARE, self._model.efficient_tokens(most, EXCESS))
        return -(-count // BLOCK_SIZE) * BLOCK_SIZE

    def keep_pace(self, prefills: list[Request], now: float) -> None:
        """Nobody else waits for a first token: prefills, in order, get of each step what they need to have
        theirs in time, and those who decode get the rest. Nothing changes when they cannot be in time.
        """
        if self._ttft_seconds is None or self._seconds_left is None:
            return
        seconds, share = 0.0, 0.0  # of work; and of all time, that the work must get
        for request in prefills:
            done = request.num_computed_tokens
            seconds += self._model.chunk_seconds(request.num_tokens - done, done)
            left = request.arrival + self._ttft_seconds - now
            if left <= seconds:
                return
            share = max(share, seconds / left)
        needed = self._decode_seconds * share / (1 - share)
        self._seconds_left = needed if self._itl_seconds is None else min(self._seconds_left, needed)

    def affordable_tokens(self, num_computed: int) -> int:
        """What one chunk after num_computed could still get at most."""
        if self._seconds_left is None:
            return self.num_tokens_left
        return min(self.num_tokens_left, self._model.chunk_tokens(self._seconds_left, num_computed))

    def share(self, prefills: list[Request], *, is_oldest_turn: bool) -> list[int]:
        """Tokens for each of prefills, which come in order of priority, then arrival.

        Half goes to the oldest, so that a long prompt is never starved; the rest goes to those with the least
        left to compute, so that a short one does not wait behind it. Of an odd number of blocks the oldest
        gets the larger half on its turn, the smaller one otherwise.
        """
        counts = [0] * len(prefills)
        remaining = [request.num_tokens - request.num_computed_tokens for request in prefills]

        def grant(index: int, at_most: int) -> None:
            done = counts[index]
            computed = prefills[index].num_computed_tokens + done
            counts[index] += self.take(remaining[index] - done, computed, at_most)

        num_blocks = max(self.affordable_tokens(prefills[0].num_computed_tokens) // BLOCK_SIZE, 1)
        grant(0, (num_blocks + is_oldest_turn) // 2 * BLOCK_SIZE)
        for index in sorted(range(len(prefills)), key=lambda i: (prefills[i].priority, remaining[i])):
            if not self.num_tokens_left:
                break
            grant(index, remaining[index])
        return counts

    def take(self, num_remaining: int, num_computed: int, at_most: int) -> int:
        """Tokens for a chunk of a prompt with num_remaining to compute after num_computed; may be 0."""
        wanted = min(num_remaining, at_most, self.num_tokens_left)
        granted = wanted
        if self._seconds_left is not None:
            granted = min(granted, self._model.chunk_tokens(self._seconds_left, num_computed))
            if not self._num_granted:
                least = 1 if self._seconds_left > 0 else BLOCK_SIZE - num_computed % BLOCK_SIZE
                granted = max(granted, min(wanted, least))
        if granted < num_remaining:
            aligned = (num_computed + granted) // BLOCK_SIZE * BLOCK_SIZE - num_computed
            if LOST_SHARE * (granted - aligned) <= self._num_granted + granted:
                granted = max(aligned, 0)
        if granted:
            self._num_granted += granted
            self.num_tokens_left -= granted
            if self._seconds_left is not None:
                self._seconds_left -= self._model.chunk_seconds(granted, num_computed)
        return granted
