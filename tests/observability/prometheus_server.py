"""A real Prometheus with the shipped scrape job and rules, looking every second."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.free_ports import free_port

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
#: How often it scrapes and evaluates here; the shipped files say 15 s and 1 m.
INTERVAL = "1s"


class QueryFailed(Exception):
    """Prometheus refused an expression, or could not evaluate it."""


class PrometheusServer:
    """Asks a running Prometheus.

    Attributes:
        url: `http://127.0.0.1:PORT`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant query.

        Raises:
            QueryFailed: It is no expression, or cannot be evaluated.
        """
        text = urllib.parse.urlencode({"query": expression})
        try:
            found = self._get(f"/api/v1/query?{text}")
        except urllib.error.HTTPError as error:
            with error:
                raise QueryFailed(f"{expression}: {error.read().decode()}") from None
        result = found["data"]["result"]
        if found["data"]["resultType"] == "scalar":
            return [float(result[1])]
        return [float(series["value"][1]) for series in result]

    def ready(self) -> bool:
        """Whether it answers queries."""
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=20) as answer:
            return bool(answer.status == 200)

    def rules(self) -> list[dict[str, Any]]:
        """Return all loaded rules with their health."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until a condition holds; it may fail to connect until then."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if condition():
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            time.sleep(0.1)

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return json.load(answer)


@contextmanager
def running_prometheus(folder: Path, target_port: int) -> Iterator[PrometheusServer]:
    """Run Prometheus on copies of the shipped files that differ in address and interval alone."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")
    folder.mkdir()
    config = (SHIPPED / "prometheus.yml").read_text()
    assert "127.0.0.1:8000" in config
    config = config.replace("127.0.0.1:8000", f"127.0.0.1:{target_port}").replace("15s", INTERVAL)
    # Where alerts would be sent is another matter, and nobody listens there.
    config = re.sub(r"^alerting:\n(?:[ #].*\n|\n)*", "", config, flags=re.M)
    (folder / "prometheus.yml").write_text(config)
    (folder / "rules").mkdir()
    for rules in (SHIPPED / "rules").glob("*.yml"):
        text = re.sub(r"^( +interval:) \w+$", rf"\1 {INTERVAL}", rules.read_text(), flags=re.M)
        (folder / "rules" / rules.name).write_text(text)
    port = free_port()
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = PrometheusServer(f"http://127.0.0.1:{port}")
    try:
        server.wait(server.ready, "Prometheus is ready")
        yield server
    finally:
        process.kill()
        process.wait()
