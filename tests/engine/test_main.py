import subprocess
import sys


def test_the_engine_process_says_what_it_is() -> None:
    command = [sys.executable, "-m", "octavo.engine", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and "Started by the server, not by hand" in result.stdout
