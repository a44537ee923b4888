"""Models of a Hugging Face hub: `org/name`, `org/name:file.gguf` or `org/name:Q4_K_M`, each with `@revision`.

huggingface_hub speaks to the hub (HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are its affair). Files lie as they
are named in OCTAVO_HOME/models/org/name; a transfer that was cut off goes on where it ended, also in a later
process, and every file is checked against the hash the hub tells. A small manifest says what is complete.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from octavo import __version__
from octavo.core.errors import ModelFileError
from octavo.core.split_name import SplitName
from octavo.models.transfer import TransferLine, locked_folder, require_space

TIMEOUT_SECONDS = 20.0  # without a byte
MAX_FAILURES = 5  # transfers that break off in a row without having brought anything
DEFAULT_QUANTIZATION = "Q4_K_M"  # where a repository has several GGUF files and none was named
SMALL_FILES = frozenset(
    (
        *("config.json", "generation_config.json", "model.safetensors.index.json"),
        *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json"),
        *("added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
    )
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_ID = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(:(?P<choice>[\w.-]+))?(@(?P<revision>[\w./-]+))?")
_SAFE_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")  # one folder at most, nothing hidden
_CHUNK_BYTES = 1 << 20
_MANIFEST = ".octavo.json"


@dataclasses.dataclass(frozen=True, slots=True)
class HubId:
    """choice: a GGUF file, or a part of one, or a quantization; "" for the repository's own.

    revision "": its main branch.
    """

    repo: str
    choice: str = ""
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> "HubId | None":
        match = _ID.fullmatch(text)
        return cls(match["repo"], match["choice"] or "", match["revision"] or "") if match else None

    def __str__(self) -> str:
        choice = f":{self.choice}" if self.choice else ""
        return self.repo + choice + (f"@{self.revision}" if self.revision else "")

    def folder(self, home: pathlib.Path) -> pathlib.Path:
        """OCTAVO_HOME/models/org/name, with @revision when one is named."""
        revision = f"@{self.revision.replace('/', '--')}" if self.revision else ""
        return home / "models" / (self.repo + revision)


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteFile:
    """digest is its SHA-256, or the SHA-1 that git gives a small file."""

    name: str
    num_bytes: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What was fetched for one choice: the files at one commit."""

    commit: str
    licence: str
    files: tuple[RemoteFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


def choose_files(files: Iterable[RemoteFile], hub_id: HubId) -> tuple[RemoteFile, ...]:
    """A checkpoint in safetensors with its configuration and tokenizer, or one GGUF file, or all its parts.

    Raises ModelFileError, naming what the repository holds instead.
    """
    by_name = {file.name: file for file in files if _SAFE_NAME.fullmatch(file.name)}
    weights = [n for n in by_name if n.endswith(".safetensors") and n.startswith("model")]
    if not hub_id.choice and weights and "config.json" in by_name:
        return tuple(by_name[name] for name in sorted((*weights, *(SMALL_FILES & by_name.keys()))))
    models = _gguf_models(by_name)
    if not models:
        raise _no_weights(by_name, hub_id)
    wanted = hub_id.choice or (DEFAULT_QUANTIZATION if len(models) > 1 else "")
    matching = [parts for parts in models if any(_is_match(name, wanted) for name in parts)]
    if len(matching) == 1:
        return _all_parts(matching[0], by_name, hub_id)
    offer = ", ".join(f"{hub_id.repo}:{_base(parts[0])}" for parts in models[:6])
    raise ModelFileError(
        f"{hub_id}: {len(matching)} of the repository's {len(models)} models in GGUF match"
        f" {wanted!r}; choose one: {offer}{' ...' if len(models) > 6 else ''}."
    )


def _gguf_models(names: Iterable[str]) -> list[list[str]]:
    """Names of files, those of a model's parts together and in order."""
    models: dict[tuple[str, int], list[str]] = {}
    for name in sorted(names):
        if name.lower().endswith(".gguf") and not _base(name).lower().startswith("mmproj"):
            split = SplitName.parse(name)
            models.setdefault((split.stem, split.count) if split else (name, 1), []).append(name)
    return list(models.values())


def _all_parts(names: list[str], by_name: Mapping[str, RemoteFile], hub_id: HubId) -> tuple[RemoteFile, ...]:
    split = SplitName.parse(names[0])
    if split is not None and (missing := {str(part) for part in split.parts} - by_name.keys()):
        raise ModelFileError(
            f"{hub_id} is split over {split.count} files, of which the repository lacks {min(missing)}."
        )
    return tuple(by_name[name] for name in names)


def _is_match(name: str, wanted: str) -> bool:
    """wanted is the file's name, or a quantization that stands in it between punctuation; "" matches all."""
    if _base(name) == wanted or not wanted:
        return True
    return re.search(rf"(^|[./-]){re.escape(wanted)}[./-]", name, re.IGNORECASE) is not None


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _no_weights(names: Iterable[str], hub_id: HubId) -> ModelFileError:
    pickles = sorted(name for name in names if name.endswith(PICKLES))
    if pickles and not hub_id.choice:
        return ModelFileError(
            f"{hub_id} holds its weights as a pickle ({pickles[0]}), which can run code when it is read;"
            " octavo reads safetensors and GGUF."
        )
    return ModelFileError(
        f"{hub_id} holds no model octavo reads: model*.safetensors with config.json, or GGUF."
    )


def path_of(hub_id: HubId, snapshot: Snapshot, home: pathlib.Path) -> pathlib.Path:
    """The GGUF file, the first if there are several, or the folder with the checkpoint."""
    folder = hub_id.folder(home)
    first = snapshot.files[0].name
    return folder / first if first.lower().endswith(".gguf") else folder


def present(hub_id: HubId, home: pathlib.Path) -> Snapshot | None:
    """What is completely here. Asks no hub."""
    snapshot = manifest_of(hub_id.folder(home)).get(hub_id.choice)
    if snapshot is None or not all(_is_here(hub_id.folder(home), file) for file in snapshot.files):
        return None
    return snapshot


def manifest_of(folder: pathlib.Path) -> dict[str, Snapshot]:
    """What was fetched into a folder, by choice. One that cannot be read says that there is nothing."""
    try:
        return {
            str(choice): Snapshot(
                str(value["commit"]),
                str(value["licence"]),
                tuple(RemoteFile(str(name), int(size), str(digest)) for name, size, digest in value["files"]),
            )
            for choice, value in json.loads((folder / _MANIFEST).read_bytes()).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def write_manifest(folder: pathlib.Path, snapshots: dict[str, Snapshot]) -> None:
    values = {
        choice: {
            "commit": snapshot.commit,
            "licence": snapshot.licence,
            "files": [dataclasses.astuple(file) for file in snapshot.files],
        }
        for choice, snapshot in snapshots.items()
    }
    temporary = folder / f"{_MANIFEST}.new"
    temporary.write_text(json.dumps(values, indent=1))
    temporary.replace(folder / _MANIFEST)


def fetch(hub_id: HubId, home: pathlib.Path, *, out: TextIO = sys.stderr) -> pathlib.Path:
    """The model as the hub has it now; what is here already is not fetched again. Raises ModelFileError."""
    hub = _Hub(hub_id)
    snapshot = hub.snapshot()
    folder = hub_id.folder(home)
    try:
        with locked_folder(folder, str(hub_id), out):
            snapshots = manifest_of(folder)
            missing = _missing(folder, snapshot, snapshots)
            if missing:
                kept = {c: s for c, s in snapshots.items() if not _names(missing) & _names(s.files)}
                write_manifest(folder, kept)  # until all is here, nothing of these is complete
                _transfer(hub, snapshot, missing, folder, out)
            write_manifest(folder, {**manifest_of(folder), hub_id.choice: snapshot})
    except OSError as error:
        raise ModelFileError(
            f"{folder} cannot be written: {error.strerror}; OCTAVO_HOME names another place for models."
        ) from error
    return path_of(hub_id, snapshot, home)


def _missing(
    folder: pathlib.Path, snapshot: Snapshot, snapshots: dict[str, Snapshot]
) -> tuple[RemoteFile, ...]:
    complete = {file for known in snapshots.values() for file in known.files}
    return tuple(file for file in snapshot.files if file not in complete or not _is_here(folder, file))


def _names(files: Iterable[RemoteFile]) -> set[str]:
    return {file.name for file in files}


def _is_here(folder: pathlib.Path, file: RemoteFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.num_bytes


def _transfer(
    hub: "_Hub", snapshot: Snapshot, missing: tuple[RemoteFile, ...], folder: pathlib.Path, out: TextIO
) -> None:
    parts = {file: folder / f".{_base(file.name)}.{file.digest[:16]}.part" for file in missing}
    total = sum(file.num_bytes for file in missing)

    def num_bytes() -> int:
        return sum(
            file.num_bytes if _is_here(folder, file) else part.stat().st_size if part.exists() else 0
            for file, part in parts.items()
        )

    require_space(folder, total - num_bytes(), str(hub.hub_id))
    with TransferLine(f"fetching {hub.hub_id}", total, num_bytes, out) as line:
        for number, (file, part) in enumerate(parts.items(), 1):
            line.note = f"file {number} of {len(parts)}" if len(parts) > 1 else ""
            hub.download(file, snapshot.commit, part)
            _check(file, part)
            (folder / file.name).parent.mkdir(exist_ok=True)
            part.replace(folder / file.name)


def _check(file: RemoteFile, path: pathlib.Path) -> None:
    """Raises ModelFileError, the file removed, when it is not what the hub said it would be."""
    size = path.stat().st_size
    is_sha256 = len(file.digest) == 64
    digest = hashlib.sha256() if is_sha256 else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    if size != file.num_bytes or digest.hexdigest() != file.digest:
        path.unlink()
        raise ModelFileError(
            f"The file fetched for {file.name} was refused: it is not the one the hub announced."
        )


class _Hub:
    """The hub, as far as one model needs it. Raises ModelFileError in the user's words."""

    def __init__(self, hub_id: HubId) -> None:
        self.hub_id = hub_id
        try:
            import huggingface_hub.errors
            import huggingface_hub.utils
        except ImportError:
            raise ModelFileError(
                f"{hub_id} is on a hub, and huggingface_hub is not installed: pip install 'octavo[hub]'."
            ) from None
        self._library: Any = huggingface_hub

    def snapshot(self) -> Snapshot:
        """The chosen files at the revision's commit of now."""
        from httpx2 import HTTPError

        api = self._library.HfApi(library_name="octavo", library_version=__version__)
        try:
            info = api.model_info(
                self.hub_id.repo,
                revision=self.hub_id.revision or None,
                files_metadata=True,
                timeout=TIMEOUT_SECONDS,
            )
        except (OSError, ValueError, HTTPError) as error:
            raise self._explained(error) from error
        files = [
            RemoteFile(item.rfilename, item.size or 0, item.lfs.sha256 if item.lfs else item.blob_id or "")
            for item in info.siblings or ()
        ]
        licence = str((info.card_data or {}).get("license") or "")
        return Snapshot(str(info.sha), licence, choose_files(files, self.hub_id))

    def download(self, file: RemoteFile, commit: str, path: pathlib.Path) -> None:
        """Fill path up to the file's length, from where it ends."""
        from httpx2 import HTTPError, TransportError

        failures = 0
        while True:
            before = path.stat().st_size if path.exists() else 0
            if before >= file.num_bytes > 0:
                return
            try:
                self._receive(file.name, commit, path, before)
                return
            except TransportError as error:
                has_progress = path.exists() and path.stat().st_size > before
                failures = 0 if has_progress else failures + 1
                if failures == MAX_FAILURES:
                    raise self._explained(error) from error
            except HTTPError as error:
                raise self._explained(error) from error

    def _receive(self, name: str, commit: str, path: pathlib.Path, start: int) -> None:
        hub = self._library
        url = hub.hf_hub_url(self.hub_id.repo, name, revision=commit)
        headers = hub.utils.build_hf_headers(library_name="octavo", library_version=__version__)
        headers |= {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        session = hub.utils.get_session()
        with session.stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS) as response:
            hub.utils.hf_raise_for_status(response)
            is_rest = response.status_code == 206
            with path.open("ab" if is_rest else "wb", buffering=0) as file:
                for chunk in response.iter_raw():  # as they come: what has arrived is on the disk
                    file.write(chunk)

    def _explained(self, error: Exception) -> ModelFileError:
        errors, repo = self._library.errors, self.hub_id.repo
        match error:
            case errors.GatedRepoError():
                text = f"{repo} asks to accept its terms first: do so on its page, and set HF_TOKEN."
            case errors.RepositoryNotFoundError() | errors.HFValidationError():
                text = f"There is no {repo} on the hub, or it is private and HF_TOKEN does not open it."
            case errors.RevisionNotFoundError():
                text = f"{repo} has no revision {self.hub_id.revision!r}."
            case errors.HfHubHTTPError():
                text = f"The hub refused {self.hub_id}: {str(error).splitlines()[0].rstrip('.')}."
            case _:
                reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
                reason = re.sub(r"^\[Errno -?\d+\] ", "", reason)
                text = f"{self.hub_id} is not here yet, and the hub cannot be reached ({reason})."
        return ModelFileError(text)
