"""Layers with windows give blocks back, and nobody can tell: the tokens are those with all blocks kept, and
those of the reference."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from octavo.backends.base import Backend, StepLimits
from octavo.backends.cpu.backend import CpuBackend
from octavo.backends.reference.backend import ReferenceBackend
from octavo.core.messages import EngineStats, Submit
from octavo.core.sampling_params import SamplingParams
from octavo.engine.core import EngineCore
from octavo.kv.manager import KVManager
from octavo.scheduler.scheduler import Scheduler
from tests.backends.tiny import SANDWICH, model_of

ARCH = dataclasses.replace(SANDWICH, num_layers=6)  # windows 40, none, 300 by turns
PROGRAM, TENSORS = model_of(ARCH)
WINDOWS = tuple(group.window for group in PROGRAM.kv_groups)
CHUNK, MAX_MODEL_LEN = 48, 640
LIMITS = StepLimits(max_num_seqs=8, max_num_batched_tokens=CHUNK, max_model_len=MAX_MODEL_LEN)


class Engine:
    """The whole engine on the tiny model. windows: what the manager believes; the model's are in its ops."""

    def __init__(
        self,
        num_blocks: int,
        *,
        windows: tuple[int | None, ...] = WINDOWS,
        backend: type[CpuBackend] | type[ReferenceBackend] = CpuBackend,
        num_checkpoint_blocks: int = 0,
        enable_prefix_caching: bool = True,
    ) -> None:
        self.kv = KVManager(
            num_blocks,
            num_checkpoint_blocks,
            windows=windows,
            max_num_batched_tokens=CHUNK,
            enable_prefix_caching=enable_prefix_caching,
        )
        self.backend: Backend = backend(PROGRAM, TENSORS, LIMITS, num_blocks, num_checkpoint_blocks)
        self.core = EngineCore(
            Scheduler(self.kv, max_num_seqs=8, max_num_batched_tokens=CHUNK),
            self.backend,
            max_model_len=MAX_MODEL_LEN,
            vocab_size=ARCH.vocab_size,
            eos_token_ids=frozenset(),
            fingerprint=b"tiny",
            enable_prefix_caching=enable_prefix_caching,
        )
        self.stats = EngineStats()
        self.most_used = 0
        self._num_requests = 0

    def run(self, prompts: Sequence[list[int]], max_tokens: int, num_choices: int = 1) -> list[list[int]]:
        params = SamplingParams(temperature=1.0, max_tokens=max_tokens, ignore_eos=True)
        tokens: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            parent = None
            for branch in range(num_choices):
                self._num_requests += 1
                request_id = str(self._num_requests)
                self.core.add(
                    Submit(
                        request_id, prompt, len(prompt), params, i, self._num_requests,
                        branch=branch, fork_of=parent,
                    )
                )  # fmt: skip
                tokens[request_id] = []
                parent = parent or request_id
        while self.core.has_work:
            outputs, self.stats = self.core.step()
            self.most_used = max(self.most_used, self.kv.pool.num_used)
            for output in outputs:
                assert output.error is None
                tokens[output.request_id] += output.token_ids
        assert self.kv.pool.num_used == 0
        return list(tokens.values())


def prompts(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, ARCH.vocab_size, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def kept() -> Engine:
    """Keeps every block of a running request."""
    return Engine(2000, windows=(None,) * len(WINDOWS))


def test_two_kinds_of_windows_and_none_share_blocks_of_one_size() -> None:
    assert WINDOWS == (40, None, 300)
    assert len({group.block_bytes for group in PROGRAM.kv_groups}) == 1


def test_freeing_behind_windows_changes_no_token(kept: Engine) -> None:
    texts = prompts(500, 130, 30, 7)
    assert Engine(2000).run(texts, 60) == kept.run(texts, 60)


def test_a_long_prompt_holds_fewer_blocks_than_it_has() -> None:
    """Alone: with others, how many are held at once depends on how steps were timed."""
    [text] = prompts(500)
    freeing, keeping = Engine(2000), Engine(2000, windows=(None,) * len(WINDOWS))
    assert freeing.run([text], 60) == keeping.run([text], 60)
    assert freeing.most_used < 0.7 * keeping.most_used


def test_the_reference_frees_and_keeps_alike(kept: Engine) -> None:
    texts = prompts(100, 30)
    assert Engine(100, backend=ReferenceBackend).run(texts, 6) == kept.run(texts, 6)


@pytest.mark.parametrize("num_checkpoint_blocks", [0, 64])
@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_preempted_and_resumed(kept: Engine, num_checkpoint_blocks: int, enable_prefix_caching: bool) -> None:
    texts = prompts(200, 180, 160, 40)
    squeezed = Engine(
        60, num_checkpoint_blocks=num_checkpoint_blocks, enable_prefix_caching=enable_prefix_caching
    )
    assert squeezed.run(texts, 60) == kept.run(texts, 60)
    assert squeezed.stats.num_preemptions > 0


def test_a_prefix_hit_that_needs_only_what_a_window_sees(kept: Engine) -> None:
    shared, *tails = prompts(400, 10, 30)
    freeing = Engine(2000)
    freeing.run([shared], 1)
    texts = [shared + tail for tail in tails]
    assert freeing.run(texts, 20) == kept.run(texts, 20)
    assert freeing.stats.prefix_cache_hits == 800


def test_choices_of_a_prompt_longer_than_the_windows(kept: Engine) -> None:
    texts = prompts(333)
    freeing = Engine(2000)
    assert freeing.run(texts, 40, num_choices=3) == kept.run(texts, 40, num_choices=3)
    assert kept.run(texts, 40) == freeing.run(texts, 40, num_choices=3)[:1]
