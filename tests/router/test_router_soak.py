"""A soak as `make soak-router` runs it, small: too short for a slope of its memory."""

import pathlib

import pytest

from tests.soak.router.__main__ import run
from tests.soak.router.run import Plan


@pytest.mark.full
def test_a_small_soak_with_a_replica_that_is_killed(tmp_path: pathlib.Path) -> None:
    checks, soak = run(Plan(num_requests=400, disturb_every=100, seed=4), tmp_path)
    assert not [str(check) for check in checks if not check.is_well and check.name != "memory"]
    assert soak.disturbances["killed"] and sum(soak.by_fate.values()) == 400
