"""The command's beginning, which imports nothing that takes time."""

import pkgutil
import subprocess
import sys

import pytest

from octavo.cli.entry import main


def test_ctrl_c_while_all_else_is_imported_is_130_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pkgutil, "resolve_name", interrupted)
    assert main() == 130
    assert capsys.readouterr().err == ""


def test_it_is_the_whole_command() -> None:
    code = "import sys; from octavo.cli.entry import main; print('cyclopts' in sys.modules); sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "nonsense"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith("octavo: ")
