"""Puts an engine into a folder of its own, once."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence

from octavo.bench.peers.peer import Command, Peer, Place
from octavo.core.errors import StartError

MAKE_VENV = ("-m", "venv", "--clear", "venv")
DONE = "installed"  # a file that is written last
LOG = "install.log"
LOG_LINES = 12  # of a failure, shown


def install(peer: Peer, root: pathlib.Path, say: Callable[[str], None]) -> Place:
    """Nothing, if it is installed already. Raises StartError with the end of the log when a command fails."""
    place = Place(root / (peer.environment_name or peer.name))
    if not peer.environment_name or (place.folder / DONE).exists():
        return place
    place.folder.mkdir(parents=True, exist_ok=True)
    venv = Command((sys.executable, *MAKE_VENV))
    commands: Sequence[Command] = (venv, *peer.install(place))
    with (place.folder / LOG).open("wb") as log:
        for number, command in enumerate(commands, 1):
            say(f"{peer.name}: installing, step {number} of {len(commands)} ...")
            _run(peer, command, place, log.fileno())
    (place.folder / DONE).touch()
    return place


def _run(peer: Peer, command: Command, place: Place, log: int) -> None:
    code = _exit_code(peer, command, place, log)
    if code and command.otherwise is not None:
        code = _exit_code(peer, command.otherwise, place, log)
    if code:
        path = place.folder / LOG
        tail = "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise StartError(f"{peer.name} cannot be installed; the end of {path}:\n{tail}")


def _exit_code(peer: Peer, command: Command, place: Place, log: int) -> int:
    os.write(log, f"$ {' '.join(command.arguments)}\n".encode())
    try:
        return subprocess.run(
            ["env", *(f"{name}={value}" for name, value in command.environment.items()), *command.arguments],
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        ).returncode
    except OSError as error:
        raise StartError(f"{peer.name} cannot be installed: {error}.") from None
