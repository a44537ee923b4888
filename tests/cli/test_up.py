"""`octavo up`: flags over a file's values, --check, and one sentence for what is wrong."""

import pathlib
import re
import sys
from collections.abc import Callable

import pytest

from octavo.cli import main as cli
from octavo.config import Environment
from octavo.fleet.values import FleetValues, ModelValues, RouterValues

Up = Callable[..., FleetValues]


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Up:
    given: list[FleetValues] = []

    def run_fleet(values: FleetValues, environment: Environment) -> int:
        given.append(values)
        return 7

    monkeypatch.setattr("pkgutil.resolve_name", lambda name: run_fleet)

    def run(*arguments: str) -> FleetValues:
        assert cli.main(["up", *arguments]) == 7
        return given.pop()

    return run


def test_without_a_word_it_is_two_replicas_of_the_built_in_model(up: Up) -> None:
    assert up() == FleetValues((ModelValues(replicas=2),))


def test_flags_make_a_fleet(up: Up) -> None:
    values = up(
        "--replicas", "3", "--model", "m.gguf", "--port", "0", "--host", "::", "--policy", "round-robin"
    )
    router = RouterValues(host="::", port=0, policy="round-robin")
    assert values == FleetValues((ModelValues("m.gguf", 3),), router)


def test_flags_say_when_engines_run(up: Up) -> None:
    values = up("--replicas", "1", "--standby", "1", "--start-on-first-request", "--idle-timeout", "5m")
    model = ModelValues(replicas=1, num_standbys=1, starts_on_first_request=True, idle_seconds=300.0)
    assert values.models == (model,)


def test_a_flag_says_what_kv_caches_hold(up: Up, tmp_path: pathlib.Path) -> None:
    assert up("--replicas", "1", "--kv-dtype", "int8").models == (ModelValues(kv_dtype="int8"),)
    path = tmp_path / "values.yaml"
    path.write_text("model: {kvDtype: int8}\n")
    assert up(str(path)).models[0].kv_dtype == "int8"
    assert up(str(path), "--kv-dtype", "bf16").models[0].kv_dtype == "bf16"


def test_a_flag_says_what_activations_are(up: Up, tmp_path: pathlib.Path) -> None:
    assert up("--replicas", "1", "--activation-dtype", "int8").models[0].activation_dtype == "int8"
    path = tmp_path / "values.yaml"
    path.write_text("model: {activationDtype: int8}\n")
    assert up(str(path)).models[0].activation_dtype == "int8"
    assert up(str(path), "--activation-dtype", "bf16").models[0].activation_dtype == "bf16"


def test_flags_go_before_the_file(up: Up, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("replicaCount: 4\nmodel: {name: org/a, maxModelLen: 64}\nrouter: {port: 81}\n")
    assert up(str(path)).models == (ModelValues("org/a", 4, max_model_len=64),)
    values = up(str(path), "--replicas", "1", "--port", "82")
    assert (values.models, values.router.port) == ((ModelValues("org/a", 1, max_model_len=64),), 82)


def test_check_says_what_would_be_and_starts_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("replicaCount: 2\nmodel: {name: org/tiny, tensorParallelism: 4}\n")
    assert cli.main(["up", str(path), "--check"]) == 0
    out = capsys.readouterr().out
    assert ": 2 replicas on " in out and re.search(r"^  r0(-r1)? +org/tiny, ", out, re.MULTILINE)
    assert "without effect on one machine:\n  line 2: model.tensorParallelism: 4: " in out
    assert out.splitlines()[-1].startswith("org/tiny is not on this disk yet")


def test_what_would_be_fits_a_terminal(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(
        "model: {startOnFirstRequest: true, idleTimeout: 5m, kvDtype: int8, activationDtype: int8}"
    )
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["up", str(path), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 60 and any(line.startswith(" " * 10) for line in lines)


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("replicaCount: x", ("--check",), "line 1: replicaCount is 'x'"),
        ("models: [{name: org/a}, {name: org/b}]", ("--replicas", "2"), "the file has several"),
        (
            "\nmodel: {name: smolm2}",
            ("--check",),
            "line 2: model.name is 'smolm2': There is no model 'smolm2'",
        ),
        ("", ("--model", "smolm2", "--check"), "There is no model 'smolm2'"),
        ("", ("--replicas", "0"), "--replicas is 0; allowed: 1 to 64"),
        ("", ("--port", "70000"), "--port is 70000"),
        ("", ("--standby", "65"), "--standby is 65; allowed: 0 to 64"),
        ("", ("--idle-timeout", "soon"), "--idle-timeout is 'soon'; allowed: a time like 30s, 5m or 1h"),
        ("router: {enabled: false}", ("--standby", "1"), "standbys need the router"),
        ("models: [{name: org/a}, {name: org/b}]", ("--standby", "1"), "--standby: for a fleet of one model"),
        ("", ("--kv-dtype", "fp8", "--check"), "--kv-dtype is 'fp8'; allowed: bf16, int8."),
        ("model: {activationDtype: int4}", ("--check",), "line 1: model.activationDtype is 'int4'"),
        ("model: {kvDtype: fp8}", ("--check",), "line 1: model.kvDtype is 'fp8'"),
        ("", ("--policy", "luck"), "--policy is 'luck'; allowed: round-robin"),
        ("", ("--policy", "session"), "needs a file whose router has a sessionKey"),
    ],
)
def test_a_mistake_is_one_sentence(
    complaint: Callable[..., str],
    tmp_path: pathlib.Path,
    text: str,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    assert expected in complaint(str(path), *arguments, command="up")


@pytest.mark.parametrize("model", ["default", "org/name", "model.gguf", "."])
def test_a_model_in_the_place_of_the_file_is_told_where_it_belongs(
    complaint: Callable[..., str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert f"which {model} is not; a model is named by --model." in complaint(model, command="up")
    assert "conf/up.yaml: No such file" in complaint("conf/up.yaml", command="up")
