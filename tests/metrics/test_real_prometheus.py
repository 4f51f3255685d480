"""A real Prometheus with the shipped files: it scrapes the page and its rules have values."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.free_ports import free_port

from tidegate.control.alerts import catalogue
from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics.families import rate_limits
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = {rule.name for rule in catalogue.ALERTS}

pytestmark = pytest.mark.external


def program(name: str) -> str:
    """Return the path of a program of Debian's `prometheus`, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: apt-get install prometheus")
    return path


async def run(*command: str | Path) -> tuple[int, str]:
    """Run a command to its end and return its status and output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode()


async def test_the_shipped_configuration_and_rules_are_valid() -> None:
    """`promtool check config` reads both files, and every alert is one that we document here."""
    status, output = await run(program("promtool"), "check", "config", SHIPPED / "prometheus.yml")
    assert status == 0, output
    groups = yaml.safe_load((SHIPPED / "rules" / "tidegate.yml").read_text())["groups"]
    assert {
        rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule
    } == ALERTS


class PageServer:
    """Serves the page to a scraper and notes what it asked for."""

    def __init__(self, page: MetricsPage) -> None:
        self.page = page
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request of a connection."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                fields = dict(
                    line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
                )
                named = {name.lower(): value for name, value in fields.items()}
                lines, body = await self.page.render(
                    named.get(b"accept"), named.get(b"accept-encoding")
                )
                writer.write(
                    b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (lines, len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def ask(port: int, path: str) -> Any:
    """GET a path of Prometheus's API; None while it does not answer."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return None
    writer.write(f"GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return json.loads(body) if b" 200 " in head.split(b"\r\n")[0] else None


async def query(port: int, expression: str) -> list[float]:
    """Return the values of an instant query."""
    found = await ask(port, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return [float(result["value"][1]) for result in found["data"]["result"]] if found else []


@pytest.fixture
async def prometheus(
    tmp_path: Path, segment: Segment
) -> AsyncIterator[tuple[int, PageServer, Registry]]:
    """Prometheus with the shipped files, pointed at a page, looking every 200 ms."""
    binary = program("prometheus")
    registry = Registry(segment, FIRST_WORKER_SLOT)
    server = PageServer(MetricsPage(segment, registry))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    target = listener.sockets[0].getsockname()[1]
    text = (SHIPPED / "prometheus.yml").read_text()
    assert "127.0.0.1:8000" in text
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{target}").replace("15s", "200ms")
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copytree(SHIPPED / "rules", tmp_path / "rules")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        binary,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield port, server, registry
    finally:
        process.kill()
        await process.wait()
        listener.close()


async def test_prometheus_scrapes_both_counters(
    prometheus: tuple[int, PageServer, Registry],
) -> None:
    """Its own Accept header gets OpenMetrics, one series for each counter, and the rules load."""
    port, server, registry = prometheus
    registry.counter(rate_limits.ALLOWED).series.inc(1523)
    registry.counter(rate_limits.BLOCKED).series.inc(47)
    deadline = asyncio.get_running_loop().time() + 40
    wanted = {
        'rate_limit_allowed_total{job="llm_gateway"}': [1523.0],
        'rate_limit_blocked_total{job="llm_gateway"}': [47.0],
        'up{job="llm_gateway"}': [1.0],
        "instance:rate_limit_success:percent_rate5m": [100.0],
        "count(process_resident_memory_bytes)": [1.0],
    }
    found: dict[str, list[float]] = {}
    while found != wanted:
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.1)
        found = {expression: await query(port, expression) for expression in wanted}
    assert server.requests[0].startswith(b"GET /api/v1/metrics HTTP/1.1\r\n")
    assert b"application/openmetrics-text" in server.requests[0]
    assert b"gzip" in server.requests[0]
    rules = await ask(port, "/api/v1/rules")
    loaded = [rule for group in rules["data"]["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded if rule["type"] == "alerting"} == ALERTS
    assert all(rule["health"] in ("ok", "unknown") for rule in loaded)
    assert await query(port, "scrape_samples_scraped") != []
