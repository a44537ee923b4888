import os
import pathlib

import pytest

from octavo.core.errors import ModelFileError
from octavo.weights.mapped_file import MappedFile

PAGE = 4096
NUM_PAGES = 300


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (NUM_PAGES * PAGE // 256))
    return path


def changed(path: pathlib.Path, offset: int) -> str:
    """The identity after a byte was written and the time of modification set back."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return MappedFile(path).identity()


def test_a_file_keeps_its_identity_when_it_is_read_and_marked_as_used(path: pathlib.Path) -> None:
    before = MappedFile(path).identity()
    path.read_bytes()
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    assert MappedFile(path).identity() == before


def test_size_time_and_inode_are_identity(path: pathlib.Path) -> None:
    found = {MappedFile(path).identity()}
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    found.add(MappedFile(path).identity())
    times = path.stat()
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    found.add(MappedFile(copy).identity())
    with copy.open("ab") as file:
        file.write(b"x")
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    found.add(MappedFile(copy).identity())
    assert len(found) == 4


def test_what_was_written_over_in_secret_is_seen_at_both_ends_and_between(path: pathlib.Path) -> None:
    found = {MappedFile(path).identity(), changed(path, 0), changed(path, NUM_PAGES * PAGE - 2)}
    with path.open("r+b") as file:
        file.seek(NUM_PAGES // 3 * PAGE)
        file.write(bytes(PAGE * NUM_PAGES // 50))  # more than the distance of samples
    os.utime(path, ns=(0, 0))
    found.add(changed(path, 0))
    assert len(found) == 4


def test_a_file_of_one_byte_has_an_identity(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert MappedFile(tmp_path / "a").identity()


def resident_kib(path: pathlib.Path) -> int:
    """Of all mappings of a file in this process."""
    lines = pathlib.Path("/proc/self/smaps").read_text().splitlines()
    total, is_ours = 0, False
    for line in lines:
        if "-" in line.split()[0]:
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


@pytest.mark.parametrize("is_read_again", [True, False])
def test_dropped_pages_are_no_longer_this_process_s_and_can_be_read_again(
    is_read_again: bool, path: pathlib.Path
) -> None:
    file = MappedFile(path)
    content = bytes(file.mapping)
    assert resident_kib(path) == NUM_PAGES * PAGE // 1024
    file.drop_pages(is_read_again=is_read_again)
    assert resident_kib(path) == 0
    assert bytes(file.mapping) == content


def test_pages_of_a_file_that_is_gone_are_dropped_too(path: pathlib.Path) -> None:
    file = MappedFile(path)
    path.unlink()
    file.drop_pages(is_read_again=False)
    assert file.mapping[:2] == b"\x00\x01"


def test_what_is_no_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (("none", "no such file"), ("empty", "is empty"), ("pipe", "no such file")):
        with pytest.raises(ModelFileError, match=problem):
            MappedFile(tmp_path / name)
