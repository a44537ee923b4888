"""An engine is installed once, into a folder of its own, and a failure shows the end of its log."""

import pathlib

import pytest

from octavo.bench.peers import installation
from octavo.bench.peers.installation import install
from octavo.bench.peers.peer import Place
from octavo.core.errors import StartError
from tests.bench.peers.fake_peer import FakePeer


@pytest.fixture(autouse=True)
def without_a_virtual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "MAKE_VENV", ("-c", "pass"))


def test_it_happens_once(tmp_path: pathlib.Path) -> None:
    said: list[str] = []
    for _ in range(2):
        place = install(FakePeer(environment_name="fake-1"), tmp_path, said.append)
    assert place == Place(tmp_path / "fake-1")
    assert said == ["fake: installing, step 1 of 2 ...", "fake: installing, step 2 of 2 ..."]
    assert place.python == str(tmp_path / "fake-1" / "venv" / "bin" / "python")


def test_an_interrupted_one_begins_anew(tmp_path: pathlib.Path) -> None:
    peer = FakePeer(environment_name="fake-1", broken="install")
    for _ in range(2):
        with pytest.raises(StartError, match=r"fake cannot be installed; the end of .*install.log"):
            broken(peer, tmp_path)
    install(FakePeer(environment_name="fake-1"), tmp_path, print)
    assert (tmp_path / "fake-1" / "installed").exists()


def broken(peer: FakePeer, root: pathlib.Path) -> None:
    install(peer, root, lambda line: None)


def test_a_command_that_fails_is_replaced_by_another_if_one_is_given(tmp_path: pathlib.Path) -> None:
    place = install(FakePeer(environment_name="fake-1", broken="first"), tmp_path, print)
    assert (place.folder / "mark").read_text() == "x"
    log = (place.folder / "install.log").read_text()
    assert log.index("what went wrong") < log.rindex("\n$ ")


def test_what_has_no_environment_needs_nothing(tmp_path: pathlib.Path) -> None:
    install(FakePeer(broken="install"), tmp_path, print)
    assert list(tmp_path.iterdir()) == []
