"""`python -m octavo`, for whoever has several Pythons."""

import subprocess
import sys


def test_it_is_the_octavo_command() -> None:
    done = subprocess.run([sys.executable, "-m", "octavo", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("0.")
    wrong = subprocess.run([sys.executable, "-m", "octavo", "srve"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert 'Did you mean "serve"' in wrong.stderr
