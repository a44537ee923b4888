"""A mistake on the command line is one sentence that names what is wrong and what to do."""

import pathlib

import pytest

from octavo.cli import main as cli
from octavo.cli.mistakes import COMMANDS_ELSEWHERE, OPTIONS_ELSEWHERE, WITHOUT_COUNTERPART


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("octavo: ")
    return captured.err.removeprefix("octavo: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("list", "llamas"), "`octavo list` takes no argument 'llamas'; its --help names those it takes."),
        (
            ("--port", "1"),
            "`octavo` takes no option --port before a command; `octavo --help` names the commands.",
        ),
        (("chat",), "There is no command 'chat'; `octavo run` does that."),
        (("serve", "--prot", "1"), "Unknown option: --prot. Did you mean --port?"),
        (("serve", "--ctx-size", "1"), "`octavo serve` has no --ctx-size; its name here is --max-model-len."),
        (("serve", "-t=2"), "`octavo serve` has no -t; its name here is --threads."),
        (("route", "--ctx-size", "1"), "Unknown option: --ctx-size."),
        (("serve", "--n-gpu-layers", "9"), "`octavo serve` has no --n-gpu-layers: it computes on CPUs."),
        (
            ("serve", "-hf", "org/name"),
            "`octavo serve` has no -hf: MODEL may be org/name[:file][@revision].",
        ),
        (
            ("up", "--dtype=half"),
            "`octavo up` has no --dtype: weights stay in the format of the model's file.",
        ),
        (("serve", "--port", "many"), "--port is 'many'; allowed: a whole number."),
        (("serve", "--threads", "1.5"), "--threads is '1.5'; allowed: a whole number."),
        (("serve", "--drain-seconds", "long"), "--drain-seconds is 'long'; allowed: a number."),
        (("route", "--compat-metrics=maybe"), "--compat-metrics is 'maybe'; allowed: true or false."),
        (("serve", "--port"), "--port needs a value; `octavo serve --help` says which."),
        (("keys", "add"), "`octavo keys add` needs NAME; its --help says what that is."),
    ],
)
def test_it_says_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    assert complaint(capsys, *arguments) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port: many", "port is 'many'; allowed: a whole number."),
        ("threads: 1.5", "threads is '1.5'; allowed: a whole number."),
        ("enable-prefix-caching: maybe", "enable-prefix-caching is 'maybe'; allowed: true or false."),
    ],
)
def test_a_file_of_options_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(text)
    assert complaint(capsys, "serve", "--config", str(path)) == f"--config {path}: {expected}"


def test_an_unknown_command_is_told_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert 'Did you mean "serve"?' in complaint(capsys, "serv")


def test_names_from_elsewhere_are_none_of_octavos_own() -> None:
    assert not OPTIONS_ELSEWHERE.keys() & WITHOUT_COUNTERPART.keys()
    assert not COMMANDS_ELSEWHERE.keys() & cli.COMMANDS.keys()
    assert {name for name in COMMANDS_ELSEWHERE.values() if not name.startswith("-")} <= cli.COMMANDS.keys()


@pytest.mark.parametrize("own", sorted(set(OPTIONS_ELSEWHERE.values())))
def test_what_is_advised_exists(capsys: pytest.CaptureFixture[str], own: str) -> None:
    helps = []
    for command in ("serve", "run"):
        assert cli.main([command, "--help"]) == 0
        helps.append(capsys.readouterr().out)
    assert any(f"  {own} " in text for text in helps)
    assert not any(f"  {name} " in text for name in OPTIONS_ELSEWHERE for text in helps)


@pytest.mark.parametrize("command", ["serve", "up", "route"])
def test_what_octavo_does_without_it_has_not(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert not any(f"  {name} " in text for name in WITHOUT_COUNTERPART)
