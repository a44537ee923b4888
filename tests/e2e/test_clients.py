"""Client libraries that bring their own SDK, in an environment of their own, against `octavo serve`.

The environment is made once, in the cache folder, of pinned packages. Where they cannot be had, tests skip.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator

import pytest

from octavo.config import Environment
from tests.e2e.served import Served

FOLDER = pathlib.Path(__file__).parent / "clients"
REQUIREMENTS = FOLDER / "requirements.txt"

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python() -> pathlib.Path:
    """The interpreter that has the client libraries."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    folder = Environment.read().home / "test-clients" / digest[:16]
    found, stamp = folder / "bin" / "python", folder / "complete"
    if not stamp.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [found, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", REQUIREMENTS]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the client libraries cannot be installed: {done.stderr.strip()[-300:]}")
        stamp.touch()
    return found


@pytest.fixture(scope="module")
def served(smollm2_path: object) -> Iterator[Served]:
    server = Served.start("--kv-cache-memory", "512MiB", "--max-model-len", "2048")
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("script", ["langchain_checks.py", "llama_index_checks.py", "instructor_checks.py"])
def test_a_client_library_needs_no_other_change_than_the_url(
    script: str, python: pathlib.Path, served: Served
) -> None:
    command = [python, FOLDER / script, served.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert "passed" in done.stdout
