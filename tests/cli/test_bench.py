"""`octavo bench` names its subcommands and imports none before it runs."""

import subprocess
import sys

import pytest

from octavo.cli import bench
from octavo.cli import main as cli


def test_help_lists_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in bench.COMMANDS)


@pytest.mark.parametrize("command", bench.COMMANDS)
def test_help_of_a_subcommand_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; from octavo.cli.main import main; main(['bench', '{command}', '--help'])\n"
        "heavy = {'numpy', 'tokenizers', 'jinja2', 'octavo.engine', 'rich.progress'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith(f"Usage: octavo bench {command}")
