"""An engine process without a model: its next token is a function of all tokens so far.

Started by the tests as the supervisor's command. Some prompt tokens are orders:

    KILLER  abort (SIGABRT) in every step that holds the request
    EXITER  raise in every step that holds the request
    HANGER  never return from a step that holds the request
    GAPPER  send the second token without the first

An extra argument before the supervisor's makes the start itself fail: see load.
"""

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from octavo.core.errors import OctavoError, StartError
from octavo.core.messages import EngineStats, Ready, RequestOutput, Submit
from octavo.core.request import FinishReason
from octavo.engine.process import main

KILLER, EXITER, HANGER, GAPPER, REFUSED = 9001, 9002, 9003, 9004, 9005
STEP_SECONDS = 0.001  # so that the other side can act while a stream runs
MODULUS = 997


def next_token(token_ids: Sequence[int], seed: int) -> int:
    return (31 * sum(token_ids) + 7 * len(token_ids) + seed) % MODULUS


def answer(prompt: Sequence[int], seed: int, num_tokens: int) -> list[int]:
    """What an undisturbed engine generates."""
    token_ids = list(prompt)
    for _ in range(num_tokens):
        token_ids.append(next_token(token_ids, seed))
    return token_ids[len(prompt) :]


class FakeCore:
    """One token per request and step; a suspect has a step to itself until it has a new token.

    num_idle_works: how much idle work there is at first.
    """

    def __init__(
        self, record: Callable[[int, Sequence[str], Sequence[str]], None], num_idle_works: int = 0
    ) -> None:
        self._record = record
        self.num_idle_works = num_idle_works
        self._requests: dict[str, Submit] = {}
        self._fresh: set[str] = set()
        self._num_steps = 0

    @property
    def has_work(self) -> bool:
        return bool(self._requests)

    def add(self, message: Submit) -> None:
        if REFUSED in message.token_ids:
            raise OctavoError("The fake core takes no such token.")
        self._requests[message.request_id] = message
        self._fresh.add(message.request_id)

    def do_idle_work(self) -> bool:
        self.num_idle_works -= 1
        return self.num_idle_works >= 0

    def abort(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def step(self) -> tuple[list[RequestOutput], EngineStats]:
        outputs = []
        batch = self._choose()
        if batch:
            self._num_steps += 1
            ids = [request.request_id for request in batch]
            self._record(
                self._num_steps, ids, [request_id for request_id in ids if request_id in self._fresh]
            )
            self._fresh.difference_update(ids)
            time.sleep(STEP_SECONDS)
            for request in batch:
                self._obey(request)
            outputs = [self._advance(request) for request in batch]
        stats = EngineStats(
            num_running=len(self._requests), num_steps=self._num_steps, num_generation_tokens=len(outputs)
        )
        return outputs, stats

    def _choose(self) -> list[Submit]:
        suspects = [request for request in self._requests.values() if request.is_suspect]
        return suspects[:1] or list(self._requests.values())

    def _obey(self, request: Submit) -> None:
        prompt = request.token_ids[: request.num_prompt_tokens]
        if KILLER in prompt:
            os.abort()
        if EXITER in prompt:
            raise RuntimeError("ordered to fail")
        if HANGER in prompt:
            while True:
                time.sleep(1)

    def _advance(self, request: Submit) -> RequestOutput:
        token = next_token(request.token_ids, request.seed)
        index = len(request.token_ids) - request.num_prompt_tokens
        request.token_ids.append(token)
        request.is_suspect = False
        is_last = index + 1 == request.sampling.max_tokens
        if is_last:
            del self._requests[request.request_id]
        shift = 1 if GAPPER in request.token_ids else 0
        return RequestOutput(
            request.request_id,
            index + shift,
            [token],
            FinishReason.LENGTH if is_last else None,
            num_cached_tokens=index,
        )


def load(config: object, environment: object, journal: object, epoch: int) -> SimpleNamespace:
    """order (the first argument) "refuse": a StartError; "break": an exception; "die": no message at all."""
    order = sys.argv[1]
    if order == "refuse":
        raise StartError("The model file is missing.")
    if order == "break":
        raise RuntimeError("out of luck")
    if order == "die" or (order == "die-later" and epoch > 0):
        os._exit(3)
    ready = Ready(
        epoch=epoch,
        max_model_len=4096,
        vocab_size=MODULUS,
        num_blocks=64,
        memory={},
        boot_seconds={},
        fingerprint="fake",
        threads=1,
        isa="none",
    )
    return SimpleNamespace(core=FakeCore(journal.record), ready=ready)  # type: ignore[attr-defined]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(load, sys.argv[2:])
