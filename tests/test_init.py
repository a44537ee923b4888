import subprocess
import sys

import pytest

import octavo


def test_the_public_names() -> None:
    assert octavo.LLM.__name__ == "LLM"
    assert octavo.SamplingParams(temperature=0).is_greedy
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = octavo.nothing


def test_importing_octavo_loads_no_numpy() -> None:
    code = "import sys, octavo; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
