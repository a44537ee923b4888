"""What is printed at the start."""

import msgspec
import pytest

from octavo.server.boot_report import Phases, boot_report, format_bytes, process_age_seconds
from tests.fakes import READY

INFO = msgspec.structs.replace(READY, max_model_len=8192, isa="amx")


def test_the_report_says_time_memory_and_address() -> None:
    phases = Phases()
    phases.seconds.clear()
    phases.seconds.update({"python": 0.2, "engine": 0.6, "text": 0.1})
    _, *lines = boot_report(
        INFO, phases, names=("tiny", "default"), chat="tool calls", url="http://x/v1"
    ).splitlines()
    assert lines == [
        "  server    python 200 ms, engine 600 ms, text 100 ms",
        "  engine    open model 10 ms, pack weights 250 ms",
        "  memory    weights 100.0 MiB, workspace 5.0 MiB, Python 40.0 MiB",
        "  reserved  KV cache 1.5 GiB, checkpoint store 192.0 MiB, sampling 3.0 MiB; taken as needed",
        "  KV cache  bf16, 4,096 blocks, 65,536 tokens, 1.5 GiB; context 8,192 tokens",
        "  chat      tool calls",
        "ready in 0.9 s: http://x/v1 (model tiny, default)",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    ((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 19, "1.5 MiB"), (5 << 30, "5.0 GiB")),
)
def test_bytes_have_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_activations_of_int8_are_named() -> None:
    info = msgspec.structs.replace(INFO, activation_dtype="int8")
    lines = boot_report(info, Phases(), names=("tiny",), chat="none", url="u").splitlines()
    assert lines[0].endswith(f"{INFO.isa}, activations of int8")


def test_a_notice_is_a_line() -> None:
    info = msgspec.structs.replace(INFO, notices=("the disk is full",))
    lines = boot_report(info, Phases(), names=("tiny",), chat="none", url="u").splitlines()
    assert lines[-2] == "  note      the disk is full"


def test_phases_begin_with_the_process() -> None:
    phases = Phases()
    phases.lap("a")
    assert list(phases.seconds) == ["python", "a"]
    assert 0 < phases.seconds["python"] <= process_age_seconds() + 0.01
