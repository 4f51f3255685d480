"""A limit that was taken out while keys still name it is told, not only answered with 403."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.running import RunningGateway

from tidegate.config.snapshot import (
    EdgeSnapshot,
    KeySnapshot,
    LimitSnapshot,
    MetricsSnapshot,
    Snapshot,
    encode_snapshot,
)
from tidegate.control.messages import encode_keys
from tidegate.workers.missing_limits import count_missing_limits

WARNING = "keys name a limit that is not configured: their requests are refused (403)"
LIMITS = "limits: {slow: {requests: 1000, window: 1m}, other: {requests: 1000, window: 1m}}\n"


def test_each_limit_is_counted_once_a_key() -> None:
    """Whatever else the keys name."""
    snapshot = Snapshot(
        generation=1, edge=EdgeSnapshot(), providers=(), models=(),
        limits=(LimitSnapshot("kept", "key", "requests", 1, 10**9, 1),), default_limits=(),
        metrics=MetricsSnapshot(), pepper=b"p" * 32, data_dir="/nonexistent",
    )  # fmt: skip
    keys = tuple(
        KeySnapshot(f"key_{number}", f"k{number}", bytes(32), limits=limits)
        for number, limits in enumerate((("kept",), ("gone", "kept"), ("gone", "lost"), ()))
    )
    table = encode_keys(keys)
    assert count_missing_limits(encode_snapshot(snapshot), table) == {"gone": 2, "lost": 1}
    assert count_missing_limits(encode_snapshot(snapshot), b"") == {}


def _warnings(gateway: RunningGateway) -> list[tuple[str, int]]:
    lines = map(json.loads, gateway.log.read_text().splitlines())
    return [(line["limit"], line["keys"]) for line in lines if line["event"] == WARNING]


def _until(true: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.02)


@pytest.mark.process
def test_a_reload_that_takes_a_limit_away_names_it_and_the_number_of_keys(tmp_path: Path) -> None:
    """At the reload, and at each start until it is mended; stored keys are refused meanwhile."""
    config = "providers: {demo: {}}\nmodels: {mine: {targets: [demo/demo]}}\n" + LIMITS
    with RunningGateway(tmp_path, config) as gateway:
        secrets = []
        for name in ("a", "b"):
            made = gateway.run_cli(
                "keys", "create", "--name", name, "--limit", "slow",
                "--config", str(gateway.config),
            )  # fmt: skip
            assert made.returncode == 0, made.stderr
            secrets.append(made.stdout.strip().splitlines()[-1])
        assert gateway.process is not None
        assert _warnings(gateway) == []

        def status() -> int:
            request = urllib.request.Request(
                f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {secrets[0]}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                error.close()
                return error.code

        _until(lambda: status() == 200)
        gateway.config.write_text(config.replace("slow", "slower"))
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: _warnings(gateway) == [("slow", 2)])
        _until(lambda: status() == 403)
        gateway.stop()
        gateway.start()
        assert _warnings(gateway) == [("slow", 2)] * 2
        gateway.config.write_text(config)
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: status() == 200)
        assert len(_warnings(gateway)) == 2
