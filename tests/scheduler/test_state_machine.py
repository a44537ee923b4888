"""Whatever happens in whatever order: nothing leaks, nobody starves, everyone gets the tokens it gets alone.

The sim back end checks what is read and written; this machine checks what is owned.
"""

import collections

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from octavo.backends.sim.backend import sim_token
from octavo.core.request import FinishReason, RequestStatus
from octavo.kv.manager import NO_BLOCK
from tests.fakes_engine import VOCAB_SIZE, SimEngine

PREFIXES = [[7] * 100, [7] * 50 + [8] * 50, [9] * 70]


class EngineMachine(RuleBasedStateMachine):
    @initialize(
        num_blocks=st.sampled_from([7, 10, 14, 40]),
        num_checkpoint_blocks=st.sampled_from([64, 3, 0]),
        max_num_seqs=st.sampled_from([8, 3, 1]),
        max_num_batched_tokens=st.sampled_from([64, 33, 8]),
        target_itl_seconds=st.sampled_from([0.001, 0.02, 1.0, None]),
        target_ttft_seconds=st.sampled_from([0.1, None]),
        enable_prefix_caching=st.booleans(),
        windows=st.sampled_from([(None,), (None, 20), (16, None, 40), (33,)]),
        guesses_ahead=st.booleans(),
    )
    def start(self, num_blocks, windows, **options):
        self.engine = SimEngine(num_blocks=num_blocks * len(windows), windows=windows, **options)
        self.live = []

    @rule(
        prefix=st.sampled_from(PREFIXES),
        num_shared=st.integers(0, 100),
        own=st.lists(st.integers(0, 3), max_size=20),
        max_tokens=st.integers(1, 80),
        priority=st.integers(0, 2),
        kind=st.sampled_from(["probe", "suspect"]),
        num_output=st.sampled_from([0, 1, 20]),
    )
    def add_any(self, prefix, num_shared, own, max_tokens, priority, kind, num_output):
        prompt = (prefix[:num_shared] + own) or [1]
        request_id = str(len(self.engine.submitted))
        self.engine.add(
            prompt,
            request_id=request_id,
            output=self.tokens_alone(request_id, len(prompt), min(num_output, max_tokens - 1)),
            seed=int(request_id),
            max_tokens=max_tokens,
            priority=priority,
            is_probe=kind == "probe",
            is_suspect=kind == "suspect",
        )
        self.live.append(request_id)

    @rule(
        prompts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), min_size=2, max_size=5),
        priority=st.integers(0, 2),
    )
    def add_burst_that_outgrows_the_cache(self, prompts, priority):
        """Short prompts, long answers."""
        for num_shared, own in prompts:
            self.add_any(PREFIXES[0], num_shared, [own], 80, priority, "", 0)

    @rule(
        num_tokens=st.integers(1, 100),
        count=st.integers(1, 4),
        max_tokens=st.integers(1, 80),
        priority=st.integers(0, 2),
        num_output=st.sampled_from([0, 1, 20]),
    )
    def add_choices(self, num_tokens, count, max_tokens, priority, num_output):
        """One prompt, several answers; after a crash they come with what they had."""
        parent = str(len(self.engine.submitted))
        for branch in range(count):
            request_id = str(len(self.engine.submitted))
            num_known = min(num_output, max_tokens - 1) if branch % 2 else 0
            seed = int(parent)
            self.engine.add(
                PREFIXES[1][:num_tokens],
                request_id=request_id,
                output=[sim_token(seed, branch, num_tokens + i, VOCAB_SIZE) for i in range(num_known)],
                seed=seed,
                branch=branch,
                max_tokens=max_tokens,
                priority=priority,
                fork_of=parent if branch else None,
            )
            self.live.append(request_id)

    def tokens_alone(self, request_id, num_prompt_tokens, count):
        return [sim_token(int(request_id), 0, num_prompt_tokens + i, VOCAB_SIZE) for i in range(count)]

    @rule(count=st.integers(1, 60))
    def step(self, count):
        for _ in range(count):
            for output in self.engine.step():
                if output.finish_reason is not None:
                    self.live.remove(output.request_id)
                    self.check_ended(output.request_id)

    def check_ended(self, request_id):
        output, submit = self.engine.last[request_id], self.engine.submitted[request_id]
        if output.finish_reason is FinishReason.ERROR:
            assert submit.num_prompt_tokens + 1 > self.engine.kv.num_tokens
            return
        assert output.finish_reason is FinishReason.LENGTH
        room = self.engine.kv.num_tokens + 1 - submit.num_prompt_tokens
        num_tokens = max(
            min(submit.sampling.max_tokens, room), len(submit.token_ids) - submit.num_prompt_tokens
        )
        assert self.engine.tokens[request_id] == self.engine.expected_tokens(request_id, num_tokens)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def abort(self, data):
        aborted = data.draw(st.lists(st.sampled_from(self.live), unique=True, max_size=5))
        self.engine.abort(aborted)
        ended_unsent = {output.request_id for output in self.engine.core._outputs}
        self.live = [i for i in self.live if i not in aborted or i in ended_unsent]

    @rule()
    def finish_all(self):
        """Nobody starves: a request has 200 tokens at most, and each step computes one or more."""
        for _ in range(100 + 10 * 200 * len(self.live)):
            if not self.engine.core.has_work:
                break
            self.step(1)
        assert not self.engine.core.has_work
        assert not self.live
        assert self.engine.kv.pool.num_used == 0
        assert len(self.engine.kv.checkpoints) == 0

    @invariant()
    def every_block_is_accounted_for(self):
        if not hasattr(self, "engine"):
            return
        pool, cache = self.engine.kv.pool, self.engine.kv.prefix_cache
        requests = self.engine.scheduler._requests.values()
        owners = collections.Counter(
            block for request in requests for block in request.block_table if block != NO_BLOCK
        )
        ref_counts = [pool.ref_count(block) for block in range(pool.num_blocks)]
        assert ref_counts == [owners[block] for block in range(pool.num_blocks)]
        assert pool.num_used == len(owners)
        assert self.engine.kv.num_free_blocks == pool.num_free - self.num_shares_in_windows(requests)
        cached = [b for b in range(pool.num_blocks) if cache.holds(b) and not ref_counts[b]]
        assert pool.num_cached == len(cached)
        free = walk(pool)
        assert sorted(free) == [b for b in range(pool.num_blocks) if not ref_counts[b]]
        assert len(free) == pool.num_free
        num_empty = len(free) - len(cached)
        assert not any(cache.holds(block) for block in free[:num_empty])

    def num_shares_in_windows(self, requests):
        kv = self.engine.kv
        entries = collections.Counter(
            block
            for request in requests
            for at, block in enumerate(request.block_table)
            if block != NO_BLOCK and kv._windows[at % kv.num_groups] is not None
        )
        return sum(count - 1 for count in entries.values())

    @invariant()
    def requests_are_in_one_state(self):
        if not hasattr(self, "engine"):
            return
        for request in self.engine.scheduler._requests.values():
            is_running = request.status is RequestStatus.RUNNING
            assert is_running or (request.slot == -1 and not request.block_table)
            assert request.num_computed_tokens < request.num_tokens


def walk(pool):
    """The free list, in the order in which blocks will be taken."""
    blocks, block = [], pool._next[pool._head]
    while block != pool._head:
        blocks.append(block)
        assert pool._previous[pool._next[block]] == block
        block = pool._next[block]
    return blocks


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=60, stateful_step_count=25)
