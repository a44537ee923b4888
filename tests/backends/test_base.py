from octavo.backends.base import MemoryPlan, StepLimits, workspace_bytes
from tests.backends.tiny import tiny_model


def test_workspace_is_every_buffer_at_its_largest() -> None:
    program, _ = tiny_model()
    per_token = 96 * 4 + 96 * 2 + 160 * 4 + 160 * 2 + 96 * 2 + 160 * 4 + 80 * 2
    per_output = 96 * 4 + 96 * 2 + 211 * 4
    assert workspace_bytes(program, StepLimits(3, 10, 700)) == 10 * per_token + 3 * per_output


def test_a_plan_adds_up() -> None:
    plan = MemoryPlan(100, 20, block_bytes=7, num_blocks=10, num_checkpoint_blocks=2)
    assert (plan.kv_bytes, plan.checkpoint_bytes, plan.total_bytes) == (70, 14, 204)
