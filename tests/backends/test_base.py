from octavo.backends.base import MemoryPlan


def test_a_plan_adds_up() -> None:
    plan = MemoryPlan(100, 20, 3, block_bytes=7, num_blocks=10, num_checkpoint_blocks=2)
    assert (plan.kv_bytes, plan.checkpoint_bytes) == (70, 14)
    assert (plan.resident_bytes, plan.total_bytes) == (120, 207)
