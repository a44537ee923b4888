"""The `octavo serve` command with the server taken out, for the tests of its options."""

import pathlib
from collections.abc import Callable

import pytest

from octavo.cli import main as cli
from octavo.server.options import ServeOptions

Serve = Callable[..., ServeOptions]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Serve:
    """serve(*arguments) -> the options `octavo serve ARGUMENTS` would have served with."""
    given: list[ServeOptions] = []

    def run_server(options: ServeOptions) -> int:
        given.append(options)
        return 7

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: run_server)
    monkeypatch.setattr("octavo.cli.serve.resolve", lambda model, home: pathlib.Path(model))

    def run(*arguments: str) -> ServeOptions:
        assert cli.main(["serve", *arguments]) == 7
        return given.pop()

    return run


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """complaint(*arguments) -> the sentence, after exit code 2."""

    def run(*arguments: str, command: str = "serve") -> str:
        assert cli.main([command, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run
