"""The `octavo` command: exit codes, one sentence per user error, no subcommand imported before it runs."""

import os
import subprocess
import sys
from collections.abc import Callable

import cyclopts
import pytest

from octavo import __version__
from octavo.cli import main as cli
from octavo.core.errors import StartError


def app_running(command: Callable[..., object]) -> cyclopts.App:
    """The real command tree with one more command, `probe`."""
    app = cli.build_app()
    app.command(command, name="probe", help="A command of this test.")
    return app


@pytest.fixture
def run_probe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """run_probe(command, *arguments) -> exit code of `octavo probe ARGUMENTS`."""

    def run(command: Callable[..., object], *arguments: str) -> int:
        app = app_running(command)
        monkeypatch.setattr(cli, "build_app", lambda: app)
        return cli.main(["probe", *arguments])

    return run


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in cli.COMMANDS)


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys; from octavo.cli.main import main; main(['--help'])\n"
        "heavy = {'numpy', 'msgspec', 'tokenizers', 'uvicorn', 'octavo.engine', 'octavo.cli.serve'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; from octavo.cli.main import main; main(['{command}', '--help'])\n"
        "heavy = {'numpy', 'tokenizers', 'uvicorn', 'jinja2', 'huggingface_hub', 'rich.progress'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith(f"Usage: octavo {command}")


def test_arguments_reach_the_command(run_probe: Callable[..., int]) -> None:
    ports = []

    def probe(*, port: int) -> None:
        ports.append(port)

    assert run_probe(probe, "--port", "8123") == 0
    assert ports == [8123]


def test_a_command_may_choose_its_exit_code(run_probe: Callable[..., int]) -> None:
    assert run_probe(lambda: 7) == 7


def test_a_user_error_is_one_sentence_and_exit_code_2(
    run_probe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def probe() -> None:
        raise StartError("Port 8000 is taken; pass another one with --port.")

    assert run_probe(probe) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "octavo: Port 8000 is taken; pass another one with --port.\n"


def test_ctrl_c_is_130_without_a_word(
    run_probe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    def probe() -> None:
        raise KeyboardInterrupt

    assert run_probe(probe) == 130
    assert capsys.readouterr().err == ""


def test_nobody_reads_is_141_without_a_word(
    run_probe: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert run_probe(lambda: print("a line that nobody reads")) == 141
    assert capsys.readouterr().err == ""


def test_another_broken_pipe_is_a_defect(
    run_probe: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe() -> None:
        raise BrokenPipeError

    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        with pytest.raises(BrokenPipeError):
            run_probe(probe)
    os.close(read_end)


@pytest.mark.parametrize(("typed", "title"), [(["help"], "octavo COMMAND"), (["help", "rm"], "octavo rm")])
def test_help_is_a_word_too(capsys: pytest.CaptureFixture[str], typed: list[str], title: str) -> None:
    assert cli.main(typed) == 0
    assert capsys.readouterr().out.startswith(f"Usage: {title}")


def test_a_defect_is_not_hidden(run_probe: Callable[..., int]) -> None:
    def probe() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        run_probe(probe)


def test_a_long_complaint_is_cut_between_words_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["serve", "--threads", "0.5"]) == 2
    assert capsys.readouterr().err == "octavo: --threads is '0.5'; allowed: a whole\n        number.\n"
