"""What lies in OCTAVO_HOME/models: which models, how large, when used last; and taking them away again."""

import dataclasses
import pathlib
import shutil

from octavo.core.errors import ModelFileError
from octavo.core.split_name import model_stem
from octavo.models import hub, packages
from octavo.models.catalog import CATALOG, NamedModel, find
from octavo.models.hub import HubId, RemoteFile


@dataclasses.dataclass(frozen=True, slots=True)
class StoredModel:
    """paths are what it takes on the disk; last_used is in seconds since the epoch."""

    name: str
    paths: tuple[pathlib.Path, ...]
    num_bytes: int
    format: str
    licence: str
    last_used: float
    is_complete: bool


def stored_models(home: pathlib.Path) -> list[StoredModel]:
    """Those used last first, incomplete ones at the end. Other files in the folder are none of ours."""
    models = [*_named_models(home), *_hub_models(home)]
    return sorted(models, key=lambda model: (not model.is_complete, -model.last_used))


def stored_model(name: str, home: pathlib.Path) -> StoredModel:
    """Raises ModelFileError when it is not there."""
    named = find(name)
    wanted = named.name if named else name
    for model in stored_models(home):
        if model.name == wanted:
            return model
    raise ModelFileError(f"{name} is not in {home / 'models'}; `octavo list` says what is.")


def remove(model: StoredModel, home: pathlib.Path) -> None:
    """Take it off the disk. Files that another choice of the same repository needs as well stay."""
    hub_id = HubId.parse(model.name)
    if hub_id is not None:
        folder = hub_id.folder(home)
        rest = {choice: s for choice, s in hub.manifest_of(folder).items() if choice != hub_id.choice}
        hub.write_manifest(folder, rest)
        if not rest:
            shutil.rmtree(folder)
            _remove_if_empty(folder.parent)
            return
        shared = {folder / file.name for snapshot in rest.values() for file in snapshot.files}
    else:
        shared = set()
    for path in model.paths:
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in shared:
            path.unlink(missing_ok=True)
            if hub_id is not None and path.parent != hub_id.folder(home) and path.parent.is_dir():
                _remove_if_empty(path.parent)  # a folder of the repository's


def _named_models(home: pathlib.Path) -> list[StoredModel]:
    models = []
    for named in CATALOG:
        folder = packages.unfinished(named, home)
        if named.is_present(home):
            paths = (named.path(home), *([folder] if folder else []))
            models.append(_of_catalog(named, paths, is_complete=True))
        elif folder is not None:
            models.append(_of_catalog(named, (folder,), is_complete=False))
    return models


def _of_catalog(named: NamedModel, paths: tuple[pathlib.Path, ...], *, is_complete: bool) -> StoredModel:
    return StoredModel(
        name=named.name,
        paths=paths,
        num_bytes=sum(map(_num_bytes, paths)),
        format=named.format,
        licence=named.licence,
        last_used=paths[0].stat().st_atime,
        is_complete=is_complete,
    )


def _hub_models(home: pathlib.Path) -> list[StoredModel]:
    models = []
    for folder in sorted((home / "models").glob("[!.]*/[!.]*")):
        repo, _, revision = str(folder.relative_to(home / "models")).partition("@")
        revision = revision.replace("--", "/")
        snapshots = hub.manifest_of(folder)
        for choice, snapshot in snapshots.items():
            hub_id = HubId(repo, choice, revision)
            models.append(
                StoredModel(
                    name=str(hub_id),
                    paths=tuple(folder / file.name for file in snapshot.files),
                    num_bytes=snapshot.num_bytes,
                    format=_format(snapshot.files),
                    licence=snapshot.licence,
                    last_used=_last_used(hub.path_of(hub_id, snapshot, home)),
                    is_complete=hub.present(hub_id, home) is not None,
                )
            )
        if not snapshots and folder.is_dir():
            models += _unfinished(HubId(repo, "", revision), folder)
    return models


def _unfinished(hub_id: HubId, folder: pathlib.Path) -> list[StoredModel]:
    """A folder without a manifest is one of ours only if a transfer has left its part there."""
    if not list(folder.glob(".*.part")):
        return []
    size = _num_bytes(folder)
    return [StoredModel(str(hub_id), (folder,), size, "", "", folder.stat().st_atime, is_complete=False)]


def _format(files: tuple[RemoteFile, ...]) -> str:
    """As the end of a GGUF file's name has it, or the folder it is in."""
    if not files[0].name.lower().endswith(".gguf"):
        return "safetensors"
    folder, _, name = files[0].name.rpartition("/")
    for text in (model_stem(name), folder):
        tail = text.replace(".", "-").rpartition("-")[2]
        if tail[:1] in tuple("QqIiFfBb") and any(map(str.isdigit, tail)):
            return f"GGUF {tail.upper()}"
    return "GGUF"


def _last_used(path: pathlib.Path) -> float:
    path = path / "config.json" if path.is_dir() else path
    return path.stat().st_atime if path.exists() else 0.0


def _num_bytes(path: pathlib.Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove_if_empty(folder: pathlib.Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
