"""The processes of a run: the mock upstream, nginx and the gateway, each on its port and core."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from typing_extensions import override

from bench.payloads import (
    MODEL,
    SPACED_MODEL,
    TRANSLATED_MODEL,
    UPSTREAM_MODEL,
    UPSTREAM_SPACED_MODEL,
    UPSTREAM_TRANSLATED_MODEL,
)

ROOT = Path(__file__).parent.parent
PATH = "/v1/chat/completions"
MESSAGES_PATH = "/v1/messages"

_START_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 20.0

_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    tcp_nodelay on;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    upstream mock {{
        server 127.0.0.1:{mock};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{ listen 127.0.0.1:{whole}; location / {{ proxy_pass http://mock; }} }}
    server {{
        listen 127.0.0.1:{stream};
        proxy_buffering off;
        location / {{ proxy_pass http://mock; }}
    }}
}}
"""

_GATEWAY = f"""
server: {{port: %(port)d, control_port: %(control_port)d, workers: 1, data_dir: data}}
providers:
  mock:
    kind: openai-compatible
    base_url: http://127.0.0.1:%(mock)d/v1
    api_key: env:BENCH_UPSTREAM_KEY
  other:
    kind: anthropic
    base_url: http://127.0.0.1:%(mock)d
    api_key: env:BENCH_UPSTREAM_KEY
models:
  {MODEL}: {{targets: [{{provider: mock, model: {UPSTREAM_MODEL}}}]}}
  {SPACED_MODEL}: {{targets: [{{provider: mock, model: {UPSTREAM_SPACED_MODEL}}}]}}
  {TRANSLATED_MODEL}: {{targets: [{{provider: other, model: {UPSTREAM_TRANSLATED_MODEL}}}]}}
  {TRANSLATED_MODEL}-spaced:
    targets: [{{provider: other, model: {UPSTREAM_TRANSLATED_MODEL}-spaced}}]
limits:
  per-key: {{per: key, requests: 900000, window: 1s}}
keys:
  bench: {{secret: env:BENCH_KEY, limits: [per-key]}}
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class System:
    """A program under measurement, in a process tree of its own.

    Attributes:
        name: As it stands in the tables.
        whole_port: Where whole answers are asked for.
        stream_port: Where streams are asked for.
        key: What clients send as their bearer token.
    """

    name = ""

    def __init__(self, folder: Path, core: int | None) -> None:
        self.folder = folder
        self.core = core
        self.whole_port = self.stream_port = free_port()
        self.key = "sk-" + secrets.token_hex(24)
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the tree's root."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what is added to a clean environment."""
        return {}

    def start(self, ready: str | None = None) -> float:
        """Start it and return the seconds until it was ready.

        Args:
            ready: How the line on its output begins that says so; None waits for the port.

        Raises:
            RuntimeError: It ended, or it was not ready in 30 s.
        """
        command = self.command()
        if self.core is not None:
            command = ["taskset", "--cpu-list", str(self.core), *command]
        began = time.perf_counter()
        with (self.folder / "stderr.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={
                    "PATH": os.environ.get("PATH", "") + ":/usr/sbin",
                    "HOME": str(self.folder),
                    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src"))),
                    **self.environment(),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        deadline = began + _START_DEADLINE_S
        if ready is None:
            self._wait_for_port(deadline)
        else:
            self._wait_for_line(ready)
        return time.perf_counter() - began

    def _wait_for_line(self, ready: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ready):
                return
        raise RuntimeError(f"{self.name} ended before it was ready: {self._log()}")

    def _wait_for_port(self, deadline: float) -> None:
        assert self._process is not None
        while time.perf_counter() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.whole_port), timeout=1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        self.stop()
        raise RuntimeError(f"{self.name} did not open its port: {self._log()}")

    def _log(self) -> str:
        return (self.folder / "stderr.log").read_text()[-2000:]

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL for what has not gone after 20 s."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


class Mock(System):
    """The upstream itself; asking it directly shows what the others add."""

    name = "direct"

    @override
    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.mock_upstream", str(self.whole_port)]


class Nginx(System):
    """`proxy_pass` with kept connections, and nothing else: the floor."""

    name = "nginx"

    def __init__(self, folder: Path, core: int | None, mock: Mock) -> None:
        super().__init__(folder, core)
        self.stream_port = free_port()
        self._mock = mock

    @override
    def command(self) -> list[str]:
        config = self.folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                folder=self.folder,
                user="user root;" if os.geteuid() == 0 else "",
                mock=self._mock.whole_port,
                whole=self.whole_port,
                stream=self.stream_port,
            )
        )
        return [find_program("nginx"), "-p", str(self.folder), "-c", str(config)]


class Gateway(System):
    """Tidegate with one worker: a key, a limit, a rewritten model name, metrics and logs on."""

    name = "tidegate"

    def __init__(self, folder: Path, core: int | None, mock: Mock) -> None:
        super().__init__(folder, core)
        self._mock = mock

    @override
    def command(self) -> list[str]:
        config = self.folder / "tidegate.yaml"
        config.write_text(
            _GATEWAY
            % {
                "port": self.whole_port,
                "control_port": free_port(),
                "mock": self._mock.whole_port,
            }
        )
        return [sys.executable, "-m", "tidegate", "serve", "--config", str(config)]

    @override
    def environment(self) -> dict[str, str]:
        return {"BENCH_KEY": self.key, "BENCH_UPSTREAM_KEY": "sk-upstream-of-the-benchmark"}

    @override
    def start(self, ready: str | None = "tidegate ready on ") -> float:
        return super().start(ready)


def find_program(name: str) -> str:
    """Return the path of a program.

    Raises:
        RuntimeError: It is not installed.
    """
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise RuntimeError(f"{name} is not installed; `make bench` installs it when run as root")
    return path
