"""What stands between client and engines: nothing, nginx, octavo's router, LiteLLM. Each as one process, or
with one worker."""

import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence

from tools.router_overhead.load import CLIENT_KEY

SECRET = "overhead"
START_SECONDS = 120.0
NGINX = """\
daemon off; worker_processes 1; error_log /dev/null; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder}; client_body_buffer_size 256k; keepalive_requests 1000000;
  upstream engines {{ {servers} keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclasses.dataclass(frozen=True)
class Proxy:
    """command is given the port to listen on, the engines' ports, and a folder of its own. missing: why it
    cannot run here."""

    name: str
    command: Callable[[int, Sequence[int], pathlib.Path], list[str]]
    ready_path: str = "/readyz"
    environment: tuple[tuple[str, str], ...] = ()
    missing: str | None = None
    is_light: bool = False  # it cannot bear the whole load


def nginx(port: int, engines: Sequence[int], folder: pathlib.Path) -> list[str]:
    servers = " ".join(f"server 127.0.0.1:{engine};" for engine in engines)
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(port=port, servers=servers, folder=folder))
    return [shutil.which("nginx") or "nginx", "-c", str(path), "-e", "/dev/null", "-p", str(folder)]


def octavo(port: int, engines: Sequence[int], folder: pathlib.Path) -> list[str]:
    urls = [f"http://127.0.0.1:{engine}" for engine in engines]
    return [str(pathlib.Path(sys.executable).with_name("octavo")), "route", *urls, "--port", str(port)]


def litellm(executable: str) -> Callable[[int, Sequence[int], pathlib.Path], list[str]]:
    def command(port: int, engines: Sequence[int], folder: pathlib.Path) -> list[str]:
        rows = "".join(
            f"- model_name: tiny\n  litellm_params: {{model: openai/tiny, api_key: sk-1,"
            f" api_base: 'http://127.0.0.1:{engine}/v1'}}\n"
            for engine in engines
        )
        path = folder / "litellm.yaml"
        path.write_text(f"model_list:\n{rows}litellm_settings: {{telemetry: false}}\n")
        return [executable, "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]

    return command


def proxies(litellm_path: str | None) -> list[Proxy]:
    return [
        Proxy("nginx", nginx, missing=None if shutil.which("nginx") else "nginx is not installed"),
        Proxy("octavo route", octavo),
        Proxy("octavo route, resumable", octavo, environment=(("OCTAVO_SECRET", SECRET),)),
        Proxy(
            "LiteLLM",
            litellm(litellm_path or ""),
            ready_path="/health/liveliness",
            environment=(("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_MASTER_KEY", CLIENT_KEY)),
            missing=None if litellm_path else "no --litellm PATH",
            is_light=True,
        ),
    ]


class NotReadyError(Exception):
    """A process that was started does not answer."""


class Running:
    """A process on a core of its own, until it is stopped."""

    def __init__(self, command: Sequence[str], core: int, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.sched_setaffinity(self.process.pid, {core})

    def wait(self, url: str) -> None:
        """Until it is ready. Raises NotReadyError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise NotReadyError(f"not ready within {START_SECONDS:g} s: {' '.join(map(str, self.command))}")

    def cpu_seconds(self) -> float:
        """Of all its threads and of its children's."""
        return sum(map(_cpu_seconds, _family(self.process.pid)))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _family(pid: int) -> list[int]:
    children = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in _family(child))]


def _cpu_seconds(pid: int) -> float:
    """By the scheduler's own clock, not its ticks."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
