"""Hostile model files are opened or refused by name, in bounded memory and time, and execute nothing."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [1000, pytest.param(6000, marks=pytest.mark.full)])
def test_a_hostile_model_is_opened_or_refused(count: int, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "tests.engine.hostile_run", str(tmp_path), "1", str(count)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=0.14 * count, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 2 * count
    assert min(opened, refused) > count / 10  # the corpus is neither harmless nor hopeless


@pytest.mark.parametrize(
    "statement",
    [
        "import antigravity_evil",
        "exec('1')",
        "open('/etc/passwd')",
        "pickle.loads(b'cos\\nsystem\\n.')",
        "subprocess.run(['true'])",
        "socket.socket()",
    ],
)
def test_the_watch_sees_what_is_forbidden(statement: str, tmp_path: pathlib.Path) -> None:
    program = (
        "import pathlib, pickle, socket, subprocess, sys\n"
        "from tests.engine.hostile_run import Watch\n"
        f"watch = Watch(pathlib.Path({str(tmp_path)!r}))\n"
        f"code = compile({statement!r}, sys.prefix, 'exec')\n"
        "watch.is_armed = True\n"
        "exec(code)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "a model file caused" in done.stderr
