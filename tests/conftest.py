"""What every test shares: reproducible hypothesis runs, and `--full` for the checks on real models."""

import os
import pathlib
import sys

import hypothesis
import pytest

from octavo.config import Environment
from octavo.models.source import resolve

# Where an environment forbids it, every process under test would compile all its modules at each start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The oracle's threads spin for each other otherwise; on a machine that is busy they then take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

hypothesis.settings.register_profile(
    "octavo",
    derandomize=True,  # the same examples on every machine and run
    database=None,
    deadline=None,  # time is never a reason to fail
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("octavo")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the tests marked `full`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    deselected = [item for item in items if item.get_closest_marker("full") is not None]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item.get_closest_marker("full") is None]


@pytest.fixture(scope="session")
def smollm2_path() -> pathlib.Path:
    """The built-in model's file, which `make test` has fetched."""
    return resolve("default", Environment.read().home)
