import subprocess
import sys

from octavo.bench.peers.octavo_itself import SERVE, Octavo
from tests.bench.peers.serving import PLACE, SERVING


def test_it_serves_the_file_or_the_checkpoint() -> None:
    assert Octavo().start(PLACE, SERVING).arguments[-8:] == (
        "serve", "/m.gguf", "--port", "4242", "--threads", "2", "--num-speculative-tokens", "0"
    )  # fmt: skip
    assert Octavo(options=("--kv-dtype", "int8")).start(PLACE, SERVING).arguments[-2:] == (
        "--kv-dtype",
        "int8",
    )
    assert "/m" in Octavo(needs_checkpoint=True).start(PLACE, SERVING).arguments
    assert not Octavo().install(PLACE) and not Octavo().environment_name


def test_the_command_is_octavo() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
