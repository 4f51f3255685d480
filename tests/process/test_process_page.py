"""The real gateway: what the page says, and what limits remember, through deaths and restarts."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from double_run import SOURCE, children_of, command_of, wait_for
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-0123456789abcdef0123456789"
CONFIG = """
providers: {demo: {kind: demo}}
models: {demo: {targets: [{provider: demo, model: demo}]}}
limits: {hourly: {per: key, requests: 5, window: 1h}}
default_limits: [hourly]
keys: {ci: {secret: env:CI_KEY}}
"""


def gateway_in(folder: Path) -> RunningGateway:
    environment = {"PYTHONPATH": str(SOURCE), "CI_KEY": SECRET}
    return RunningGateway(folder, CONFIG, workers=2, environment=environment)


def ask(gateway: RunningGateway) -> int:
    """Send one chat request; return its status."""
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def workers_of(gateway: RunningGateway) -> list[int]:
    assert gateway.process is not None
    pids = children_of(gateway.process.pid)
    return [pid for pid in pids if "tidegate.workers.worker" in command_of(pid)]


def test_counts_and_limits_outlive_every_worker(tmp_path: Path) -> None:
    """Kill -9 of each worker in turn: no counter falls, no limit refills, the deaths are told."""
    with gateway_in(tmp_path) as gateway:
        assert [ask(gateway) for _ in range(3)] == [200] * 3
        cpu_before = counters(gateway.page())("process_cpu_seconds_total")
        for victim in workers_of(gateway):
            os.kill(victim, signal.SIGKILL)
            wait_for(
                lambda v=victim: len(workers_of(gateway)) == 2 and v not in workers_of(gateway),
                "the next worker",
            )
        assert [ask(gateway) for _ in range(4)] == [200, 200, 429, 429]
        total = counters(gateway.page())
        assert total("rate_limit_allowed_total") == 5
        assert total("rate_limit_blocked_total") == 2
        assert total("tidegate_worker_restarts_total", reason="signal") == 2
        assert total("tidegate_worker_restarts_total") == 2
        assert total("process_cpu_seconds_total") >= cpu_before
        assert total("tidegate_event_loop_lag_seconds_count") > 0


def test_a_dead_control_process_is_counted_apart(tmp_path: Path) -> None:
    """Its gauges are zero while it is gone, so nothing else on the page tells."""
    with gateway_in(tmp_path) as gateway:
        assert gateway.process is not None
        [control] = [
            pid
            for pid in children_of(gateway.process.pid)
            if "tidegate.control.main" in command_of(pid)
        ]
        assert counters(gateway.page())("tidegate_control_restarts_total") == 0
        os.kill(control, signal.SIGKILL)
        wait_for(
            lambda: counters(gateway.page())("tidegate_control_restarts_total", reason="signal"),
            "the count",
        )
        total = counters(gateway.page())
        assert total("tidegate_control_restarts_total") == 1
        assert total("tidegate_worker_restarts_total") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_does_not_refill_an_hour(tmp_path: Path, number: signal.Signals) -> None:
    """After a drain exactly, after a kill of everything as of the last second."""
    gateway = gateway_in(tmp_path)
    with gateway:
        assert [ask(gateway) for _ in range(6)] == [200] * 5 + [429]
        saved = gateway.data_dir / "limits.snapshot"
        if number == signal.SIGKILL:
            wait_for(saved.exists, "the first save")
            before = saved.stat().st_mtime_ns
            wait_for(lambda: saved.stat().st_mtime_ns > before, "a save after the requests")
        gateway.stop(number)
        gateway.start()
        assert ask(gateway) == 429
        reloads = counters(gateway.page())("tidegate_config_reloads_total")
        assert reloads == 0


def test_a_reload_is_counted_by_its_result(tmp_path: Path) -> None:
    """And every worker shows the generation in force."""
    with gateway_in(tmp_path) as gateway:
        assert gateway.process is not None
        gateway.config.write_text(CONFIG + "routing: {retries: 1}\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: counters(gateway.page())("tidegate_config_reloads_total", result="applied"),
            "the reload",
        )
        gateway.config.write_text("nonsense: 1\n")
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: counters(gateway.page())("tidegate_config_reloads_total", result="refused"),
            "the refusal",
        )
        assert counters(gateway.page())("tidegate_worker_config_generation") == 4
