"""The line of a request, for eyes and for programs."""

import errno
import io
import json

from octavo.http.request_log import RequestLog, RequestRecord


def line(*, is_json: bool = False, is_coloured: bool = False, **fields: object) -> str:
    output = io.StringIO()
    log = RequestLog(
        is_json=is_json, is_coloured=is_coloured, output=output, clock=lambda: 12.0, wall_clock=lambda: 5.25
    )
    record = RequestRecord("id", "POST", "/v1/completions", arrival=10.0, status=200)
    for name, value in fields.items():
        setattr(record, name, value)
    log.write(record)
    return output.getvalue()


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_nobody_can_be_given_harms_nobody() -> None:
    log = RequestLog(is_json=False, is_coloured=False, output=Full())
    log.write(RequestRecord("id", "POST", "/v1/completions", arrival=10.0, status=200))


GENERATED = {
    "completion_id": "cmpl-1",
    "finish_reason": "stop",
    "num_prompt_tokens": 20,
    "num_cached_tokens": 16,
    "num_output_tokens": 4,
    "queue_seconds": 0.25,
    "prefill_seconds": 0.125,
    "decode_seconds": 1.5,
    "first_token_seconds": 0.5,
}


def test_a_line_for_eyes() -> None:
    assert line(**GENERATED) == (
        "200  POST /v1/completions  id  stop  prompt 20 (16 cached)  output 4  queue 250 ms  prefill 125 ms"
        "  first token 500 ms  total 2000 ms  2.0 tok/s\n"
    )


def test_a_line_for_programs() -> None:
    assert json.loads(line(is_json=True, **GENERATED)) == {
        "time": 5.25,
        "arrival": 3.25,
        "id": "id",
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
        "total_ms": 2000.0,
        "completion_id": "cmpl-1",
        "finish_reason": "stop",
        "prompt_tokens": 20,
        "cached_tokens": 16,
        "output_tokens": 4,
        "queue_ms": 250.0,
        "prefill_ms": 125.0,
        "decode_ms": 1500.0,
        "ttft_ms": 500.0,
        "tokens_per_second": 2.0,
    }


def test_a_request_that_generated_nothing_is_short() -> None:
    assert line(status=404) == "404  POST /v1/completions  id  total 2000 ms\n"


def test_colours_only_when_asked_for() -> None:
    assert "\033" not in line(**GENERATED)
    assert line(is_coloured=True, status=404).startswith("\033[33m404\033[0m")


def test_a_stream_that_ended_with_an_error_says_so_beside_its_status() -> None:
    broken = {"endpoints": ("r0", "r1"), "error": "endpoint_broke_off"}
    assert line(**broken) == (
        "200  POST /v1/completions  id  r0 > r1  error endpoint_broke_off  total 2000 ms\n"
    )
    assert json.loads(line(is_json=True, **broken))["error"] == "endpoint_broke_off"
    assert line(is_coloured=True, **broken).startswith("\033[31m200\033[0m")
    assert line(is_coloured=True).startswith("\033[32m200\033[0m")


def test_a_path_cannot_write_to_the_terminal() -> None:
    assert "\033" not in line(path="/\033[2J\n" + "x" * 10_000)
    assert line(path="/\n").count("\n") == 1


def test_of_many_attempts_the_first_and_the_last_are_shown() -> None:
    assert "  a > b > c > d > e > f  " in line(endpoints=tuple("abcdef"))
    many = ("r0", "r1") * 29
    assert "  r0 > r1 > r0 > r1 > r0 > ... > r1 (58 attempts)  " in line(endpoints=many)
    assert json.loads(line(is_json=True, endpoints=many))["endpoints"] == list(many)
