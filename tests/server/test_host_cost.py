"""What the server costs is measured above an engine that computes nothing, and by each kind of reader."""

import pathlib

import pytest

from tools.host_cost.server import served


@pytest.mark.parametrize("reader", ["client", "router", "channel"])
def test_every_reader_gets_its_answers_from_an_engine_that_takes_no_time(reader: str) -> None:
    with served(0.0) as server:
        command = pathlib.Path(f"/proc/{server.engine_pid}/cmdline").read_bytes()
        assert b"tools.host_cost.free_engine" in command
        cost = server.load(2, 3, 4, "/v1/completions", reader)
    assert cost.num_tokens == 12 and cost.num_bytes > 0
