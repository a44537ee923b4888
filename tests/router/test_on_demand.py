"""How many requests wait for a model that is started on demand, and that they are bounded."""

import pytest

from octavo.core.errors import OverloadedError
from octavo.router.on_demand import OnDemandModels


def test_who_waits_is_counted_by_model() -> None:
    models = OnDemandModels(("a", "b"))
    assert "a" in models and "c" not in models and len(models) == 2
    with pytest.raises(RuntimeError), models.waiting("a"), models.waiting("a"), models.waiting("b"):
        assert (models.num_waiting(("a",)), models.num_waiting(("a", "b", "c"))) == (2, 3)
        raise RuntimeError
    assert models.num_waiting(("a", "b")) == 0


def test_no_more_than_so_many_wait() -> None:
    models = OnDemandModels(("a", "b"), max_waiting=1)
    with models.waiting("a"):
        with pytest.raises(OverloadedError, match="1 requests wait for a to be started"), models.waiting("a"):
            pass
        with models.waiting("b"):
            assert models.num_waiting(("a", "b")) == 2
