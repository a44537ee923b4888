from octavo.core.request import Request
from octavo.core.sampling_params import SamplingParams
from octavo.kv.manager import KVManager
from octavo.scheduler.plan import StepBuilder


def request(num_tokens, **fields):
    return Request("a", list(range(num_tokens)), 10, SamplingParams(min_tokens=2), 5, 0.0, 100, **fields)


def builder():
    kv = KVManager(20, 0)
    return StepBuilder(kv, 4, epoch=3), kv


def test_a_chunk_then_a_decode():
    build, kv = builder()
    r = request(20, stop_ids=frozenset({9, 2}), branch=1)
    plan = build.build([r], [18], [])
    step = plan.step
    assert (step.step_id, step.epoch, r.slot) == (0, 3, 0)
    (admission,) = step.admitted
    assert (admission.slot, admission.prompt_length, admission.seed, admission.branch) == (0, 10, 5, 1)
    assert admission.suppressed_token_ids == (2, 9)
    assert admission.token_ids.tolist() == list(range(20))
    assert step.new_blocks.tolist() == [[0, 0, 0, r.block_table[0]], [0, 0, 1, r.block_table[1]]]
    assert step.token_ids.tolist() == list(range(18))
    assert plan.outputs.sampled == []
    assert plan.num_context_tokens == sum(range(1, 19))
    kv.commit(r, 18)

    plan = build.build([r], [2], [r])
    step = plan.step
    assert (step.step_id, step.admitted, step.new_blocks.shape) == (1, (), (0, 4))
    assert (step.slot.tolist(), step.num_computed.tolist(), step.query_start.tolist()) == ([0], [18], [0, 2])
    assert (step.output_row.tolist(), step.output_slot.tolist(), plan.outputs.sampled) == ([1], [0], [r])
    assert plan.num_context_tokens == 19 + 20


def test_rows_of_several_requests_follow_each_other():
    build, _ = builder()
    a, b = request(5), request(20)
    plan = build.build([a, b], [5, 16], [])
    step = plan.step
    assert step.query_start.tolist() == [0, 5, 21]
    assert step.slot.tolist() == [0, 1]
    assert step.output_row.tolist() == [4]
    assert plan.outputs.sampled == [a]


def test_a_released_slot_is_sent_once_and_taken_again():
    build, _ = builder()
    a, b = request(5), request(6)
    build.build([a], [5], [])
    build.release(a)
    assert a.slot == -1
    step = build.build([b], [6], []).step
    assert step.released.tolist() == [0]
    assert b.slot == 0
    assert build.build([b], [1], []).step.released.tolist() == []


def test_a_request_without_a_slot_has_nothing_to_release():
    build, _ = builder()
    build.release(request(5))
    assert build.build([], [], []).step.released.tolist() == []
