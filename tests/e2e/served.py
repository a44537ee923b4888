"""A real `octavo serve` process on the built-in model, and its engine."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys


@dataclasses.dataclass(slots=True)
class Served:
    """url ends in /v1; log collects what the server said on stderr while it started."""

    process: "subprocess.Popen[str]"
    url: str
    log: list[str]

    @classmethod
    def start(cls, *options: str) -> "Served":
        """Start on a free port; returns when the server says that it is ready."""
        code = "import sys; from octavo.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "serve", "--port", "0", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            found = re.search(r"ready in .*(http://\S+/v1)", line)
            if found:
                return cls(process, found.group(1), log)
        raise AssertionError("".join(log))

    def engine_pid(self) -> int:
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def kill_engine(self) -> None:
        os.kill(self.engine_pid(), signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            self.log += stderr.readlines()
        return self.process.wait(timeout=60)
