import pathlib
from typing import Any

import pytest

from octavo.config import EngineConfig, Environment, RouterConfig, ServerConfig
from octavo.core.errors import StartError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_num_seqs": 0}, "--max-num-seqs is 0; allowed: 1 or more"),
        (
            {"max_num_seqs": 64, "max_num_batched_tokens": 63},
            "is 63; allowed: --max-num-seqs, which is 64, or more",
        ),
        ({"threads": 0}, "--threads is 0"),
        ({"max_model_len": 1}, "--max-model-len is 1; allowed: 2 or more"),
        ({"kv_dtype": "fp8"}, "--kv-dtype is 'fp8'; allowed: bf16, int8"),
        ({"activation_dtype": "int4"}, "--activation-dtype is 'int4'; allowed: bf16, int8"),
        ({"target_itl": 0.0}, "--target-itl"),
        ({"target_ttft": -1.0}, "--target-ttft"),
        ({"target_itl": float("inf")}, "--target-itl"),
        ({"target_ttft": float("nan")}, "--target-ttft"),
    ],
)
def test_engine_options_out_of_range_are_named(options: dict[str, int], message: str) -> None:
    with pytest.raises(StartError, match=message):
        EngineConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 65536}, "--port is 65536"),
        ({"log_format": "xml"}, "--log-format is 'xml'; allowed: text, json"),
        ({"unknown_fields": "drop"}, "--unknown-fields is 'drop'; allowed: refuse, warn"),
        ({"prefix_cache_scope": "all"}, "--prefix-cache-scope is 'all'; allowed: key, shared"),
        *(({"heartbeat_seconds": seconds}, "--heartbeat-seconds") for seconds in (-1.0, float("nan"))),
        ({"tool_call_parser": "xml"}, "--tool-call-parser is 'xml'; allowed: hermes, llama3_json"),
        ({"drain_seconds": -1.0}, "--drain-seconds"),
        ({"api_key": ""}, "--api-key is empty"),
        ({"api_key": "a key\n"}, "--api-key begins or ends with a space, or has characters that no header"),
        ({"max_body_bytes": 0}, "--max-body-bytes is 0; allowed: 1 or more"),
    ],
)
def test_server_options_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(StartError, match=message):
        ServerConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"admin_port": 1, "admin_key": ""}, "--admin-key is empty"),
        ({"admin_key": "key"}, "--admin-port and --admin-key go together"),
        ({"api_key": ""}, "--api-key is empty"),
        ({"max_body_bytes": -1}, "--max-body-bytes is -1; allowed: 1 or more"),
    ],
)
def test_router_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=message):
        RouterConfig(endpoints=("http://a:1",), **options)


@pytest.mark.parametrize("name", ["OCTAVO_SECRET", "OCTAVO_API_KEY"])
def test_what_a_file_ends_with_is_no_part_of_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes into a header: a line's end there would end every request to an endpoint."""
    monkeypatch.setenv(name, "geheim-ü\n")
    environment = Environment.read()
    assert "geheim-ü" in (environment.secret, environment.api_key)
    monkeypatch.setenv(name, "two\nlines")
    with pytest.raises(StartError, match=f"{name} has characters that no header"):
        Environment.read()


def test_the_environment_is_read_once_with_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCTAVO_HOME", "OCTAVO_API_KEY", "OCTAVO_CPU_ISA", "OCTAVO_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    environment = Environment.read()
    assert environment.home == pathlib.Path("/somewhere/.cache/octavo")
    assert environment.api_key is None and environment.cpu_isa is None
    monkeypatch.setenv("OCTAVO_HOME", "/elsewhere")
    monkeypatch.setenv("OCTAVO_API_KEY", "secret")
    assert Environment.read().home == pathlib.Path("/elsewhere")
    assert Environment.read().api_key == "secret"
