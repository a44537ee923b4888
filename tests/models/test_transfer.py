import io
import pathlib
import threading

import pytest

from octavo.core.errors import ModelFileError
from octavo.models import transfer
from octavo.models.transfer import MIB, TransferLine, locked_folder, require_space


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_tells_how_far_it_is_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = [10 * MIB]  # from an earlier try
    with TransferLine("fetching toy", 100 * MIB, lambda: done[0], io.StringIO()) as line:
        done[0] = 30 * MIB
        line.note = "part 2 of 3"
        early, text = (line.line(line._start + seconds) for seconds in (0.5, 4.0))
    assert early == "fetching toy:  30 %  30 of 100 MiB  part 2 of 3"
    assert text == "fetching toy:  30 %  30 of 100 MiB  5.0 MiB/s  14 s left  part 2 of 3"


def test_the_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with TransferLine("fetching a model", 100 * MIB, lambda: 0, io.StringIO()) as line:
        assert line.line(line._start) == "fetching a model:  "


def test_it_is_redrawn_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "UPDATE_SECONDS", 0.001)
    terminal, seen = Terminal(), threading.Semaphore(0)

    def measure() -> int:
        seen.release()
        return 0

    with TransferLine("fetching toy", MIB, measure, terminal):
        for _ in range(4):
            assert seen.acquire(timeout=60)
    assert terminal.getvalue().count("\r\x1b[Kfetching toy:   0 %") >= 2
    assert "fetching toy: 1 MiB in " in terminal.getvalue()


def test_a_failure_is_not_told_as_success() -> None:
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), TransferLine("fetching toy", MIB, lambda: 0, terminal):
        raise KeyboardInterrupt
    assert terminal.getvalue().endswith("fetching toy: stopped\n")


def test_a_pipe_gets_nothing() -> None:
    pipe = io.StringIO()
    with TransferLine("fetching toy", MIB, lambda: 0, pipe):
        pass
    assert pipe.getvalue() == ""


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path: pathlib.Path) -> None:
    require_space(tmp_path, 0, "toy")
    with pytest.raises(ModelFileError, match=r"toy needs 1,048,576 MiB more .* `octavo rm`"):
        require_space(tmp_path, 1 << 40, "toy")


def test_a_folder_is_one_process_s_at_a_time(tmp_path: pathlib.Path) -> None:
    folder, terminal, order = tmp_path / "a" / "b", Terminal(), []

    def second() -> None:
        with locked_folder(folder, "toy", terminal):
            order.append("second")

    with locked_folder(folder, "toy", terminal):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting for it" not in terminal.getvalue():
            thread.join(0.001)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert not folder.exists()  # nothing was left in it


def test_what_is_left_in_a_folder_stays(tmp_path: pathlib.Path) -> None:
    with locked_folder(tmp_path / "a", "toy", io.StringIO()) as folder:
        (folder / "file").write_text("")
    assert folder.is_dir()
