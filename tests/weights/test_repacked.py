"""Kept weights come back as they were, or not at all; the folder has a bound; two may write at once."""

import os
import pathlib
import shutil
import threading

import numpy as np
import pytest

from octavo.weights import repacked
from octavo.weights.repacked import RepackedFiles, repacked_key

DATA = np.random.default_rng(1).integers(0, 256, 50_000, np.uint8)
KEY, OTHER = repacked_key([b"a", b"b"]), repacked_key([b"ab"])


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "model.gguf"
    path.touch()
    return path


@pytest.fixture
def files(tmp_path: pathlib.Path) -> RepackedFiles:
    return RepackedFiles(tmp_path / "home" / "repacked", minimum=0)


def keep(files: RepackedFiles, source: pathlib.Path, key: str = KEY, data: np.ndarray = DATA) -> pathlib.Path:
    files.keep(key, data, fingerprint="f00d", source=source)
    return files.folder / f"{key}.weights"


def test_what_is_kept_is_found(files: RepackedFiles, source: pathlib.Path) -> None:
    assert files.find(KEY, len(DATA)) is None and files.files() == []
    keep(files, source)
    found = files.find(KEY, len(DATA))
    assert found is not None and found.fingerprint == "f00d"
    np.testing.assert_array_equal(found.data, DATA)
    assert not found.data.flags.writeable and found.data.ctypes.data % 64 == 0
    assert files.find(OTHER, len(DATA)) is None and files.find(KEY, len(DATA) - 1) is None
    assert [path.name for path in files.folder.iterdir()] == [f"{KEY}.weights"]


def test_fields_of_a_key_do_not_run_together() -> None:
    assert KEY != OTHER


def test_a_file_that_is_cut_short_is_not_found(files: RepackedFiles, source: pathlib.Path) -> None:
    path = keep(files, source)
    whole = path.read_bytes()
    for length in (0, 1, 100, 1 << 14, (1 << 14) + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert files.find(KEY, len(DATA)) is None, length
        keep(files, source)  # and it can be kept anew
        assert files.find(KEY, len(DATA)) is not None


def test_a_changed_byte_anywhere_that_counts_is_seen(files: RepackedFiles, source: pathlib.Path) -> None:
    path = keep(files, source)
    whole = path.read_bytes()
    header = len(whole[: 1 << 14].rstrip())
    for at in (*range(header), 1 << 14, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        assert files.find(KEY, len(DATA)) is None, at


@pytest.mark.parametrize(
    "content", [b"not ours", b"[" * 20_000, b'{"key": 1}', b"[]" + bytes(70_000), b"\xff"]
)
def test_a_foreign_file_is_not_found(content: bytes, files: RepackedFiles, source: pathlib.Path) -> None:
    keep(files, source).write_bytes(content)
    assert files.find(KEY, len(DATA)) is None
    assert len(files.files()) == 1


def test_another_s_file_stays_so_that_both_map_the_same(files: RepackedFiles, source: pathlib.Path) -> None:
    inode = keep(files, source).stat().st_ino
    assert keep(files, source).stat().st_ino == inode


def test_many_at_once_are_all_right_and_leave_one_file(files: RepackedFiles, source: pathlib.Path) -> None:
    found = []

    def run() -> None:
        keep(files, source)
        kept = files.find(KEY, len(DATA))
        found.append(kept is not None and np.array_equal(kept.data, DATA))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert [path.name for path in files.folder.iterdir()] == [f"{KEY}.weights"]


def test_a_file_system_without_links_will_do(
    files: RepackedFiles, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    keep(files, source)
    assert files.find(KEY, len(DATA)) is not None


def test_no_folder_and_no_room_are_errors_of_the_system(
    files: RepackedFiles, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1 << 20))
    with pytest.raises(OSError, match="No space left"):
        keep(files, source)
    assert list(files.folder.iterdir()) == []
    files.folder.rmdir()
    files.folder.write_bytes(b"")
    with pytest.raises(FileExistsError):
        keep(files, source)


def test_those_used_longest_ago_are_given_up(tmp_path: pathlib.Path) -> None:
    sources = [tmp_path / f"model{i}" for i in range(4)]
    keys = [repacked_key([bytes((i,))]) for i in range(4)]
    files = RepackedFiles(tmp_path / "repacked", limit=3 * (len(DATA) + (1 << 14)), minimum=0)
    for i in range(3):
        sources[i].touch()
        os.utime(keep(files, sources[i], keys[i]), (i, i))
    assert files.find(keys[0], len(DATA)) is not None  # used: now the last to go
    sources[3].touch()
    keep(files, sources[3], keys[3])
    assert [files.find(key, len(DATA)) is not None for key in keys] == [True, False, True, True]
    with pytest.raises(OSError, match="more than 0 GiB, the bound of the folder"):
        keep(files, sources[0], OTHER, np.zeros(1 << 20, np.uint8))


def test_a_model_has_two_files_at_most(files: RepackedFiles, source: pathlib.Path) -> None:
    keys = [repacked_key([bytes((i,))]) for i in range(4)]
    for i, key in enumerate(keys):
        os.utime(keep(files, source, key), (i, i))
    assert [files.find(key, len(DATA)) is not None for key in keys] == [False, False, True, True]


def test_what_is_of_no_model_and_what_nobody_finished_goes(
    files: RepackedFiles, source: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    keep(files, tmp_path / "gone", OTHER)
    stale, fresh, foreign = (files.folder / name for name in (".a.part", ".b.part", "notes.txt"))
    for path in (stale, fresh, foreign):
        path.touch()
    os.utime(stale, (1, 1))
    keep(files, source)
    assert {path.name for path in files.folder.iterdir()} == {f"{KEY}.weights", fresh.name, foreign.name}


def test_files_of_a_model_are_removed_with_it(files: RepackedFiles, tmp_path: pathlib.Path) -> None:
    directory, single = tmp_path / "directory", tmp_path / "single.gguf"
    directory.mkdir()
    single.touch()
    keep(files, directory, KEY)
    keep(files, single, OTHER)
    mapped = files.find(OTHER, len(DATA))
    assert files.remove_of([tmp_path / "none.gguf"]) == 0
    assert files.remove_of([directory / "config.json", directory / "x.safetensors"]) > len(DATA)
    assert [file.source for file in files.files()] == [str(single)]
    assert files.remove_of([single]) > len(DATA) and files.files() == []
    np.testing.assert_array_equal(mapped.data, DATA)


def test_small_weights_are_not_worth_a_file(tmp_path: pathlib.Path) -> None:
    files = RepackedFiles(tmp_path)
    assert not files.is_worthwhile(repacked.MIN_BYTES - 1) and files.is_worthwhile(repacked.MIN_BYTES)
