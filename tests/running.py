"""A real gateway in processes of its own, for tests that stand where a user stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from tests.free_ports import free_port


class RunningGateway:
    """`tidegate serve` on free ports; use as a context manager.

    Args:
        folder: Takes the configuration, the data directory and the log.
        config: YAML; None starts with the embedded defaults.
        workers: Number of workers.
        environment: Added to a clean environment (no provider key of the machine leaks in).

    Attributes:
        url: `http://127.0.0.1:PORT`.
        output: Lines of standard output up to the ready line.
        log: Path of the file that takes standard error.
        ready_s: Seconds from the start of the process to its ready line.
    """

    def __init__(
        self,
        folder: Path,
        config: str | None = None,
        *,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output: list[str] = []
        self.log = folder / "gateway.log"
        self.ready_s = 0.0
        self.data_dir = folder / "data"
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            **(environment or {}),
        }
        self._command = [
            sys.executable, "-m", "tidegate", "serve", "--port", str(self.port),
            "--control-port", str(free_port()), "--workers", str(workers),
            "--data-dir", str(self.data_dir), *arguments,
        ]  # fmt: skip
        self.config = folder / "gateway.yaml"
        if config is not None:
            self.config.write_text(config)
            self._command += ["--config", str(self.config)]
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RunningGateway:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, timeout_s: float = 20.0) -> None:
        """Start it and wait for the ready line."""
        started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.output = []
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("tidegate ready on "):
                self.ready_s = time.monotonic() - started
                return
        code = self.process.wait(timeout_s)
        self.process.stdout.close()
        self.process = None
        raise AssertionError(f"the gateway ended with {code}:\n{self.log.read_text()}")

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 20.0) -> int:
        """Send a signal and wait for the end; a gateway that does not end is a failure."""
        process = self.process
        if process is None:
            return 0
        self.process = None
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"the gateway did not stop:\n{self.log.read_text()[-4000:]}"
            ) from None
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def page(self) -> str:
        """Read the metrics page."""
        with urllib.request.urlopen(f"{self.url}/api/v1/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def create_key(self, name: str, *arguments: str) -> str:
        """Create a key as a user would, and return its secret."""
        done = self.run_cli("keys", "create", "--name", name, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    def run_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tidegate …` on this gateway's data directory."""
        return subprocess.run(
            [sys.executable, "-m", "tidegate", *arguments, "--data-dir", str(self.data_dir)],
            env=self._environment,
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )


_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def counters(page: str) -> Callable[..., float]:
    """Return a function that sums a page's samples of a name, narrowed by labels."""
    samples = []
    for line in page.splitlines():
        match = _SAMPLE.match(line)
        if match:
            samples.append((match[1], dict(_LABEL.findall(match[2] or "")), float(match[3])))

    def total(name: str, **labels: str) -> float:
        return sum(
            value
            for sample, found, value in samples
            if sample == name and all(found.get(key) == text for key, text in labels.items())
        )

    return total
