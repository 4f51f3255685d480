"""One gateway and one Prometheus for all tests of expressions: idle first, then busy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.observability.eventful_gateway import QuotaUpstream, eventful_gateway, play
from tests.observability.prometheus_server import PrometheusServer, running_prometheus
from tests.observability.shipped_expressions import panel_queries
from tests.running import RunningGateway, counters

_RECORDS = "tidegate_ledger_records_total"


@dataclass(frozen=True)
class Observed:
    """A gateway that Prometheus has seen idle and then busy.

    Attributes:
        prometheus: Still running.
        gateway: Still running, and busy no more.
        values: What Grafana would put in for its variables.
        idle: Values of each panel's query, as asked, before the first request.
        statuses: Answers of the second round of traffic, by status.
    """

    prometheus: PrometheusServer
    gateway: RunningGateway
    values: dict[str, str]
    idle: dict[str, list[float]]
    statuses: dict[int, int]


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Two rounds of traffic with a scrape between, since a rate needs two samples."""
    folder = tmp_path_factory.mktemp("observed")
    with (
        QuotaUpstream() as upstream,
        eventful_gateway(folder / "gateway", upstream) as gateway,
        running_prometheus(folder / "prometheus", gateway.port) as prometheus,
    ):
        values = {
            "job": "llm_gateway",
            "instance": f"127.0.0.1:{gateway.port}",
            "provider": ".*",
            "model": ".*",
            "__rate_interval": "1m",
            "__range": "1m",
        }
        scrapes = "count_over_time(up[1m])"
        prometheus.wait(lambda: prometheus.query(scrapes) >= [3.0], "three idle scrapes")
        idle = {query.text: prometheus.query(query.ready(values)) for query in panel_queries()}
        for _ in range(2):
            statuses = asyncio.run(play(gateway.port))
            _await_scrape(prometheus, gateway)
        yield Observed(prometheus, gateway, values, idle, statuses)


def _await_scrape(prometheus: PrometheusServer, gateway: RunningGateway) -> None:
    """Wait until everything is settled and Prometheus has it, twice over for what follows late."""
    deadline = time.monotonic() + 20
    for _ in range(2):
        total = counters(gateway.page())
        # The ledger's database is written once a second, on its own.
        while total("tidegate_ledger_folded_records_total") < total(_RECORDS):
            assert time.monotonic() < deadline, "the ledger is not folded"
            time.sleep(0.05)
            total = counters(gateway.page())
        expected = {
            name: total(name)
            for name in ("tidegate_requests_total", _RECORDS, "tidegate_ledger_write_seconds_count")
        }
        prometheus.wait(
            lambda wanted=expected: all(  # type: ignore[misc]
                prometheus.query(f"sum({name})") >= [value] for name, value in wanted.items()
            ),
            "a scrape with all requests",
        )
