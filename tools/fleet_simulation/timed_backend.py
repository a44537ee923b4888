"""A back end for fleets of many engines: a step takes its time and gives tokens, and nothing is checked.

The `sim` back end checks every block an engine reads; its tests do that, and it costs more than the engine.
"""

from collections.abc import Callable

import numpy as np

from octavo.backends.sim.backend import StepSeconds
from octavo.core.step import Masks, StepInput, StepOutput, Ticket


class TimedBackend:
    """Tokens are numbers in the order of their sampling. sleep(seconds) lets a step's time pass."""

    def __init__(
        self,
        *,
        first_token: int,
        vocab_size: int,
        sleep: Callable[[float], None],
        step_seconds: StepSeconds,
    ) -> None:
        """first_token: where the numbers begin, so that the answers of two engines differ."""
        self._next_token = first_token
        self._vocab_size = vocab_size
        self._sleep = sleep
        self._step_seconds = step_seconds
        self._step: StepInput | None = None

    def submit(self, step: StepInput) -> Ticket:
        assert self._step is None
        self._step = step
        return Ticket(step.step_id)

    def collect(self, ticket: Ticket, masks: Masks | None = None) -> StepOutput:
        step, self._step = self._step, None
        assert step is not None and masks is None
        count = len(step.output_slot)
        tokens = np.arange(self._next_token, self._next_token + count) % self._vocab_size
        self._next_token += count
        seconds = self._step_seconds(step.num_tokens, _num_context_tokens(step), step.num_requests)
        self._sleep(seconds)
        return StepOutput(step.step_id, tokens.astype(np.int32), np.zeros(count, np.int32), seconds)

    def close(self) -> None:
        pass


def _num_context_tokens(step: StepInput) -> int:
    """Summed over rows: how many tokens each attends to."""
    bounds = step.query_start.tolist()
    total = 0
    for num_computed, begin, end in zip(step.num_computed.tolist(), bounds, bounds[1:], strict=False):
        total += (end - begin) * (2 * num_computed + 1 + end - begin) // 2
    return total
