"""The router under soak and the replicas behind it, as processes seen from outside."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Sequence

from tests.soak import counted
from tests.soak.router.replica import SECRET

ADMIN_KEY = "soak-admin-key"
START_SECONDS = 60.0
LOOK_SECONDS = 0.02
KIB_IN_MIB = 1024


class ReplicaProcess:
    """Comes back on the same port."""

    def __init__(self, port: int, module: str = "tests.soak.router.replica") -> None:
        self.port = port
        self._module = module
        self._start()

    def _start(self) -> None:
        command = counted.command(self._module, str(self.port))
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """SIGKILL, and another one at once."""
        self.kill()
        self._start()


class RouterProcess:
    """Without endpoints; an operator adds them. Its log is in the folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._log_path = folder / "router.log"
        self._counts_path = folder / "counts.json"
        options = ("--port", "0", "--admin-port", "0", "--admin-key", ADMIN_KEY)
        options += ("--waiting-room-seconds", "20", "--health-interval-seconds", "0.2")
        command = counted.command(
            "tests.soak.router.counted_router", str(self._counts_path), "route", *options
        )
        with self._log_path.open("w") as log:
            environment = {**os.environ, "OCTAVO_SECRET": SECRET}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self.url = self._said(r"routing to .*(http://\S+)/v1")
        self.admin_url = self._said(r"managed at (http://\S+)/endpoints")

    def _said(self, pattern: str) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            found = re.search(pattern, self._log_path.read_text())
            if found:
                return found[1]
            time.sleep(LOOK_SECONDS)
        raise RuntimeError(f"The router did not start:\n{self._log_path.read_text()}")

    def anonymous_mib(self) -> float:
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) / KIB_IN_MIB

    def alive(self) -> dict[str, int]:
        """What is alive in it, by kind; file descriptors among it. Takes a garbage collection."""
        self._counts_path.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + START_SECONDS
        while not self._counts_path.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("The router does not say what is alive in it.")
            time.sleep(LOOK_SECONDS)
        fds = len(list(pathlib.Path(f"/proc/{self._process.pid}/fd").iterdir()))
        counts: dict[str, int] = json.loads(self._counts_path.read_text())
        return {"fd": fds, **counts}

    def complaints(self) -> list[str]:
        """Lines of the log that no healthy router writes."""
        lines: Sequence[str] = self._log_path.read_text(errors="replace").splitlines()
        return [line for line in lines if re.search(r"Traceback|Error:|never awaited|ERROR", line)]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(timeout=60)
        finally:
            self._process.kill()
