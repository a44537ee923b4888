"""Models of a hub, fetched over HTTP from a stand-in."""

import io
import os
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from octavo.core.errors import ModelFileError
from octavo.models import hub as hub_module
from octavo.models.hub import HubId, RemoteFile, choose_files, fetch, manifest_of, path_of, present
from tests.models.hub_server import Hub, Repository, serving

OCTAVO = "import sys; from octavo.cli.main import main; sys.exit(main())"
WEIGHTS = random.Random(0).randbytes(1 << 18)
CHECKPOINT = {
    "README.md": b"# Tiny",
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b'{"a": 1}',
    "pytorch_model.bin": b"never",
}
GGUFS = {"README.md": b"", "tiny-Q4_K_M.gguf": WEIGHTS, "tiny-Q8_0.gguf": b"q8", "mmproj-tiny.gguf": b"eyes"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub()) as hub:
        hub.repositories = {"org/tiny": Repository(dict(CHECKPOINT)), "org/gguf": Repository(dict(GGUFS))}
        point_to(hub.url, monkeypatch)
        yield hub


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, which is read when the library is imported."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def get(text: str, home: pathlib.Path) -> pathlib.Path:
    hub_id = HubId.parse(text)
    assert hub_id is not None
    return fetch(hub_id, home, out=io.StringIO())


def transfers(hub: Hub) -> list[tuple[str, int]]:
    return [request for request in hub.requests if request[0] != "info"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubId("org/name")),
        ("Qwen/Qwen2.5-0.5B", HubId("Qwen/Qwen2.5-0.5B")),
        ("org/name:Q4_K_M", HubId("org/name", "Q4_K_M")),
        ("org/name:a.gguf@v1.0", HubId("org/name", "a.gguf", "v1.0")),
        ("org/name@refs/pr/1", HubId("org/name", "", "refs/pr/1")),
        ("name", None),
        ("a/b/c", None),
        ("org/..", None),
        ("../name", None),
        ("org/name:a/b", None),
        ("", None),
    ],
)
def test_ids(text: str, expected: HubId | None) -> None:
    hub_id = HubId.parse(text)
    assert hub_id == expected
    assert hub_id is None or str(hub_id) == text


def test_a_checkpoint_is_its_weights_configuration_and_tokenizer(hub: Hub, tmp_path: pathlib.Path) -> None:
    path = get("org/tiny", tmp_path)
    assert path == tmp_path / "models" / "org" / "tiny"
    files = {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith(".")}
    names = ("config.json", "model.safetensors", "tokenizer.json")
    assert files == {name: CHECKPOINT[name] for name in names}
    assert manifest_of(path)[""].licence == "apache-2.0"
    assert present(HubId("org/tiny"), tmp_path) is not None


def test_one_gguf_file_of_several(hub: Hub, tmp_path: pathlib.Path) -> None:
    assert get("org/gguf", tmp_path).name == "tiny-Q4_K_M.gguf"
    assert get("org/gguf:q8_0", tmp_path).read_bytes() == b"q8"
    assert get("org/gguf:tiny-Q8_0.gguf@v1", tmp_path).parent.name == "gguf@v1"
    assert sorted(manifest_of(tmp_path / "models" / "org" / "gguf")) == ["", "q8_0"]


@pytest.mark.parametrize("names", [("tiny-BF16-0000{}-of-00003.gguf"), ("BF16/tiny-0000{}-of-00003.gguf")])
def test_a_split_model_is_all_its_parts(hub: Hub, tmp_path: pathlib.Path, names: str) -> None:
    parts = [names.format(number) for number in (1, 2, 3)]
    hub.repositories["org/gguf"].files |= {part: WEIGHTS + part.encode() for part in parts}
    path = get("org/gguf:bf16", tmp_path)
    folder = tmp_path / "models" / "org" / "gguf"
    assert path == folder / parts[0]
    assert [(folder / part).read_bytes()[len(WEIGHTS) :].decode() for part in parts] == parts
    hub.requests.clear()
    (folder / parts[1]).unlink()
    assert present(HubId("org/gguf", "bf16"), tmp_path) is None
    assert get("org/gguf:bf16", tmp_path) == path
    assert transfers(hub) == [(parts[1], 0)]
    assert get("org/gguf", tmp_path).name == "tiny-Q4_K_M.gguf"


def test_what_is_here_is_not_fetched_again(hub: Hub, tmp_path: pathlib.Path) -> None:
    get("org/tiny", tmp_path)
    hub.requests.clear()
    get("org/tiny", tmp_path)
    assert transfers(hub) == []


def test_a_new_commit_brings_what_has_changed(hub: Hub, tmp_path: pathlib.Path) -> None:
    path = get("org/tiny", tmp_path)
    hub.requests.clear()
    hub.repositories["org/tiny"].files["config.json"] = b'{"b": 2}'
    hub.repositories["org/tiny"].commit = "d" * 40
    get("org/tiny", tmp_path)
    assert transfers(hub) == [("config.json", 0)]
    assert (path / "config.json").read_bytes() == b'{"b": 2}'
    assert manifest_of(path)[""].commit == "d" * 40


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub, tmp_path: pathlib.Path) -> None:
    hub.repositories["org/gguf"].cut_after = [100_000, 0, 50_000]
    assert get("org/gguf", tmp_path).read_bytes() == WEIGHTS
    starts = [start for _, start in transfers(hub)]
    assert len(starts) == 4 and starts[0] == 0 and starts == sorted(starts)
    assert starts[1] == starts[2] > 0 and starts[3] > starts[2]


def test_a_server_without_ranges_starts_over(hub: Hub, tmp_path: pathlib.Path) -> None:
    hub.repositories["org/gguf"].cut_after = [100_000]
    hub.repositories["org/gguf"].has_ranges = False
    assert get("org/gguf", tmp_path).read_bytes() == WEIGHTS


def test_a_connection_that_only_breaks_is_given_up(hub: Hub, tmp_path: pathlib.Path) -> None:
    hub.repositories["org/gguf"].cut_after = [100_000] + [0] * hub_module.MAX_FAILURES
    with pytest.raises(ModelFileError, match="the hub cannot be reached"):
        get("org/gguf", tmp_path)
    assert present(HubId("org/gguf"), tmp_path) is None
    start = transfers(hub)[-1][1]
    assert get("org/gguf", tmp_path).read_bytes() == WEIGHTS
    assert transfers(hub)[-1] == ("tiny-Q4_K_M.gguf", start)


def test_a_pull_that_was_killed_goes_on_in_the_next_process(hub: Hub, tmp_path: pathlib.Path) -> None:
    hub.is_held = True
    command = [sys.executable, "-c", OCTAVO, "pull", "org/gguf"]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "OCTAVO_HOME": str(tmp_path)}
    folder = tmp_path / "models" / "org" / "gguf"
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while not any(part.stat().st_size for part in folder.glob(".*.part")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    hub.is_held = False
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    path = folder / "tiny-Q4_K_M.gguf"
    assert (done.stdout, done.stderr) == (f"{path}\n", "")
    assert path.read_bytes() == WEIGHTS
    (_, first), (_, second) = transfers(hub)
    assert first == 0 < second


def test_a_file_that_is_not_the_one_announced_is_refused(
    hub: Hub, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub_module._Hub.snapshot

    def snapshot_then_change(self: hub_module._Hub) -> hub_module.Snapshot:
        found = snapshot(self)
        hub.repositories["org/gguf"].files["tiny-Q4_K_M.gguf"] = WEIGHTS[::-1]
        return found

    monkeypatch.setattr(hub_module._Hub, "snapshot", snapshot_then_change)
    with pytest.raises(ModelFileError, match=r"tiny-Q4_K_M\.gguf was refused"):
        get("org/gguf", tmp_path)
    assert present(HubId("org/gguf"), tmp_path) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("org/none", "There is no org/none on the hub, or it is private"),
        ("org/tiny@v9", "org/tiny has no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have(text: str, complaint: str, hub: Hub, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        get(text, tmp_path)


def test_a_gated_model_names_the_token(hub: Hub, tmp_path: pathlib.Path) -> None:
    hub.is_gated = True
    with pytest.raises(ModelFileError, match=r"accept its terms .* HF_TOKEN"):
        get("org/tiny", tmp_path)


def test_without_a_hub_it_is_one_sentence(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:1", monkeypatch)
    with pytest.raises(
        ModelFileError, match=r"^org/tiny is not here yet, and the hub cannot be reached \([^\[].*\)\.$"
    ):
        get("org/tiny", tmp_path)


def test_without_the_library_it_says_how_to_get_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelFileError, match=r"pip install 'octavo\[hub\]'"):
        get("org/tiny", tmp_path)


PARTS = ("a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf")
FOLDED = ("Q8_0/a-00001-of-00002.gguf", "Q8_0/a-00002-of-00002.gguf")


def remote(*names: str) -> list[RemoteFile]:
    return [RemoteFile(name, 1, "d") for name in names]


@pytest.mark.parametrize(
    ("names", "choice", "chosen"),
    [
        (("a.gguf",), "", ["a.gguf"]),
        (("config.json", "model.safetensors", "a.gguf"), "a.gguf", ["a.gguf"]),
        (("config.json", "model.safetensors", "all.safetensors"), "", ["config.json", "model.safetensors"]),
        (("a.Q8_0.gguf", "a.Q4_K_M.gguf", "a.Q4_K_S.gguf"), "", ["a.Q4_K_M.gguf"]),
        (("a-F16.gguf", "a-BF16.gguf"), "f16", ["a-F16.gguf"]),
        (("../a.gguf", "a/b/c.gguf", "a/.b.gguf", ".d/a.gguf", ".d.gguf", "e.gguf"), "", ["e.gguf"]),
        (PARTS, "", list(PARTS)),
        (("a-Q4_K_M.gguf", *PARTS), "", ["a-Q4_K_M.gguf"]),
        (("a-Q4_K_M.gguf", *PARTS), "q8_0", list(PARTS)),
        (("a-Q4_K_M.gguf", *PARTS), "a-Q8_0-00002-of-00002.gguf", list(PARTS)),
        (("a-Q4_K_M.gguf", *FOLDED), "q8_0", list(FOLDED)),
        (("a-Q4_K_M.gguf", *FOLDED), "a-00001-of-00002.gguf", list(FOLDED)),
    ],
)  # fmt: skip
def test_which_files_are_chosen(names: tuple[str, ...], choice: str, chosen: list[str]) -> None:
    assert [file.name for file in choose_files(remote(*names), HubId("o/n", choice))] == chosen


@pytest.mark.parametrize(
    ("names", "choice", "complaint"),
    [
        (("config.json", "pytorch_model.bin"), "", r"as a pickle \(pytorch_model\.bin\), which can run code"),
        (("README.md",), "", "holds no model octavo reads"),
        (("model.safetensors",), "", "holds no model octavo reads"),
        (("a-Q8_0.gguf", "a-F16.gguf"), "", "choose one: o/n:a-F16.gguf, o/n:a-Q8_0.gguf"),
        (("a-Q8_0.gguf",), "Q2_K", "0 of the repository's 1 models in GGUF match 'Q2_K'"),
        (PARTS[1:], "Q8_0", "split over 2 files, of which the repository lacks a-Q8_0-00001-of-00002.gguf"),
        (("a-Q8_0.gguf", *PARTS), "Q8_0", "2 of the repository's 2 models in GGUF match"),
        (("a-Q8_0-00001-of-00003.gguf", *PARTS), "Q8_0", "2 of the repository's 2 models in GGUF match"),
    ],
)
def test_why_no_files_are_chosen(names: tuple[str, ...], choice: str, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        choose_files(remote(*names), HubId("o/n", choice))


@pytest.mark.parametrize("text", ["", "[]", '{"": {}}', '{"": {"commit": 1, "licence": 2, "files": [[1]]}}'])
def test_a_damaged_manifest_says_that_there_is_nothing(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / ".octavo.json").write_text(text)
    assert manifest_of(tmp_path) == {}


def test_a_file_that_was_cut_is_not_there(hub: Hub, tmp_path: pathlib.Path) -> None:
    path = get("org/gguf", tmp_path)
    snapshot = present(HubId("org/gguf"), tmp_path)
    assert snapshot is not None and path_of(HubId("org/gguf"), snapshot, tmp_path) == path
    os.truncate(path, 10)
    assert present(HubId("org/gguf"), tmp_path) is None
    assert get("org/gguf", tmp_path).read_bytes() == WEIGHTS
