"""--config FILE: what it sets, what wins over it, and how its faults are told."""

import pathlib
from collections.abc import Callable

import pytest

from tests.cli.conftest import Serve


def write(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_sets_options_and_flags_win(serve: Serve, tmp_path: pathlib.Path) -> None:
    text = "port: 81\nthreads: 3\nserved-model-name: [a, b]\n"
    text += "enable_prefix_caching: false\nkv_cache_memory: 1GiB\n"
    options = serve("--config", write(tmp_path / "c.yaml", text), "--port", "82")
    assert (options.server.port, options.engine.threads) == (82, 3)
    assert options.names == ("a", "b")
    assert (options.engine.enable_prefix_caching, options.engine.kv_cache_memory) == (False, 1 << 30)


def test_an_empty_file_sets_nothing(serve: Serve, tmp_path: pathlib.Path) -> None:
    assert serve("--config", write(tmp_path / "c.yaml", "")).server.port == 8000


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("prot: 81", "there is no option prot. Did you mean port?"),
        ("config: other.yaml", "there is no option config."),
        ("12: 1", "there is no option 12."),
        ("- port", "must hold one option per line"),
        ("a: [", "is not valid YAML in line"),
        ("port: 2026-13-45", "has a value that YAML cannot read: month must be in 1..12."),
        ("[" * 100_000, "is not valid YAML."),
        ("port: abc", "port is 'abc'; allowed: a whole number."),
        ("port: 99999", "--port is 99999; allowed: 0 to 65535."),
    ),
)
def test_a_faulty_file_is_one_sentence(
    complaint: Callable[..., str], tmp_path: pathlib.Path, text: str, expected: str
) -> None:
    assert expected in complaint("--config", write(tmp_path / "c.yaml", text))
