"""An engine that is installed by a touch and serves at once."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from octavo.bench.peers.peer import Command, Place, Serving

SERVER = pathlib.Path(__file__).parents[2] / "cli" / "completions_server.py"


@dataclasses.dataclass(frozen=True)
class FakePeer:
    """broken: a command that fails, at install or start; "first": one that another is given for."""

    name: str = "fake"
    facts: str = "made for a test"
    needs_checkpoint: bool = False
    ready_path: str = "/health"
    environment_name: str = ""
    broken: str = ""

    def install(self, place: Place) -> Sequence[Command]:
        fails = (sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)")
        marks = (sys.executable, "-c", "import os; open(os.environ['MARK'], 'a').write('x')")
        mark = Command(marks, {"MARK": "mark"})
        if self.broken == "first":
            return (Command(fails, otherwise=mark),)
        return (Command(fails) if self.broken == "install" else mark,)

    def start(self, place: Place, serving: Serving) -> Command:
        if self.broken == "start":
            return Command((sys.executable, "-c", "print('no such model')"))
        return Command((sys.executable, str(SERVER), str(serving.port)))
