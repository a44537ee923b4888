"""Models that are started when somebody asks for them: how many wait for which, and how long they may.

The router starts nothing. /debug/endpoints says how many wait; whoever runs the replicas (`octavo up`) looks
there.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator

from octavo.core.errors import OverloadedError

MAX_WAITING = 256  # requests, for one model
RETRY_AFTER_SECONDS = 5


class OnDemandModels:
    def __init__(
        self, names: Collection[str] = (), *, start_seconds: float = 120.0, max_waiting: int = MAX_WAITING
    ) -> None:
        """start_seconds: how long a request waits for its model to be started."""
        self.start_seconds = start_seconds
        self._max_waiting = max_waiting
        self._num_waiting = dict.fromkeys(names, 0)

    def __contains__(self, model: str) -> bool:
        return model in self._num_waiting

    def __len__(self) -> int:
        return len(self._num_waiting)

    def num_waiting(self, models: Iterable[str]) -> int:
        return sum(self._num_waiting.get(model, 0) for model in models)

    @contextlib.contextmanager
    def waiting(self, model: str) -> Iterator[None]:
        """A request waits for the model. Raises OverloadedError: too many do."""
        if self._num_waiting[model] >= self._max_waiting:
            raise OverloadedError(
                f"{self._max_waiting} requests wait for {model} to be started; no more may.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._num_waiting[model] += 1
        try:
            yield
        finally:
            self._num_waiting[model] -= 1
