"""`octavo serve`: flags and files become options; what is wrong with them is one sentence and exit code 2."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Serve


def test_flags_reach_their_options(serve: Serve) -> None:
    options = serve(
        *("--port", "81", "--host", "::", "--served-model-name", "a", "--served-model-name", "b"),
        *(
            "--max-model-len",
            "100",
            "--max-num-seqs",
            "4",
            "--max-num-batched-tokens",
            "32",
            "--threads",
            "1",
        ),
        *("--no-enable-prefix-caching", "--api-key", "k", "--drain-seconds", "1.5", "--log-format", "json"),
        *("--max-num-queued-requests", "9", "--kv-dtype", "int8"),
        *("--activation-dtype", "int8"),
    )
    engine, server = options.engine, options.server
    assert (server.port, server.host, server.served_model_name, server.api_key) == (81, "::", ("a", "b"), "k")
    assert (server.drain_seconds, server.log_format) == (1.5, "json")
    assert (engine.max_model_len, engine.max_num_seqs, engine.max_num_batched_tokens) == (100, 4, 32)
    assert (engine.threads, engine.enable_prefix_caching, engine.max_num_queued_requests) == (1, False, 9)
    assert engine.kv_dtype == "int8" and serve().engine.kv_dtype == "bf16"
    assert engine.activation_dtype == "int8" and serve().engine.activation_dtype is None
    assert options.names == ("a", "b")


@pytest.mark.parametrize("arguments", (("/m/tiny.gguf",), ("--model", "/m/tiny.gguf")))
def test_a_model_is_named_by_its_file(serve: Serve, arguments: tuple[str, ...]) -> None:
    options = serve(*arguments)
    assert options.engine.model == "/m/tiny.gguf"
    assert options.names == ("tiny",)


@pytest.mark.parametrize(
    ("text", "count"),
    (
        ("1000", 1000),
        ("512M", 512 << 20),
        ("512MiB", 512 << 20),
        ("2GiB", 2 << 30),
        ("1.5g", 3 << 29),
        ("4 kb", 4096),
    ),
)
def test_sizes_have_units(serve: Serve, text: str, count: int) -> None:
    assert serve("--kv-cache-memory", text).engine.kv_cache_memory == count


@pytest.mark.parametrize(
    ("arguments", "expected"),
    (
        (("--prot", "1"), "Did you mean --port?"),
        (("--port", "-1"), "--port is -1; allowed: 0 to 65535."),
        (("--kv-cache-memory", "much"), "--kv-cache-memory is 'much'; allowed:"),
        (("--kv-dtype", "fp8"), "--kv-dtype is 'fp8'; allowed: bf16, int8."),
        (("--activation-dtype", "int4"), "--activation-dtype is 'int4'; allowed: bf16, int8."),
        (("--config", "/no/such/file"), "/no/such/file: No such file"),
        (("/no/such/model.gguf",), "/no/such/model.gguf"),
    ),
    ids=lambda value: str(value)[:30],
)
def test_a_faulty_flag_is_one_sentence(
    complaint: Callable[..., str], arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in complaint(*arguments)


def test_help_names_every_option_and_imports_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from octavo.cli.main import main; main(['serve', '--help'])\n"
        "heavy = {'numpy', 'msgspec', 'tokenizers', 'uvicorn', 'starlette', 'jinja2', 'prometheus_client'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for flag in (
        "--port",
        "--kv-cache-memory",
        "--kv-dtype",
        "--activation-dtype",
        "--served-model-name",
        "--[no-]enable-prefix-caching",
        "--config",
    ):
        assert flag in done.stdout
    assert "Address to listen on." in done.stdout
    assert re.search(r"^  URL +8 KiB, else 414$", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 80
