"""Each member's lines in its own file, with the time, in bounded space."""

import pathlib

import pytest

from octavo.fleet import logs
from octavo.fleet.logs import LogFolder


def test_lines_have_their_time_and_files_their_bound(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 1000)
    folder = LogFolder(tmp_path / "new" / "folder")
    for name in ("r0", "r1"):
        folder.open(name)
    folder.write("r1", "100 % of it")
    for number in range(100):
        folder.write("r0", f"line {number}")
    folder.close()
    line = (folder.path / "r1.log").read_text()
    assert line.startswith("20") and line.endswith(" 100 % of it\n")
    assert (folder.path / "r0.log").read_text().endswith("line 99\n")
    assert sum(path.stat().st_size for path in folder.path.glob("r0.log*")) <= 2000
