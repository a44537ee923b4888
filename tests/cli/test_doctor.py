import pytest

from octavo.cli.doctor import doctor
from octavo.cli.finding import Finding, Grade


@pytest.mark.parametrize(
    ("grade", "status", "verdict"),
    [
        (Grade.OK, 0, "octavo can serve here."),
        (Grade.NOTE, 0, "octavo can serve here."),
        (Grade.FAIL, 1, "octavo cannot serve here: memory."),
    ],
)
def test_a_failed_check_is_the_exit_status(
    grade: Grade,
    status: int,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    findings = [Finding("cores", "2 of 2"), Finding("memory", "little", grade, "Buy some.")]
    monkeypatch.setattr("octavo.cli.examination.examine", lambda environment: findings)
    assert doctor() == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok   cores         2 of 2"
    assert lines[1].split() == [grade, "memory", "little"]
    assert lines[2] == " " * 19 + "Buy some."
    assert lines[-1] == verdict
