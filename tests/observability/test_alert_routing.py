"""The sample configuration of Alertmanager: who is told what, by amtool and by a real one."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.free_ports import free_port
from tests.observability.test_alert_runbooks import PAGES, blocks

from tidegate.control.alerts.catalogue import ALERTS

FOLDER = Path(__file__).parents[2] / "deploy" / "alertmanager"
CONFIG = FOLDER / "alertmanager.yml"
RECEIVERS = {"critical": "pager", "warning": "channel", "info": "mail"}
DEADLINE_S = 20.0

pytestmark = pytest.mark.external


def program(name: str) -> str:
    """Return the path of a program, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: apt-get install prometheus-alertmanager")
    return path


def amtool(*arguments: str | Path) -> str:
    """Run amtool to its end and return what it prints."""
    done = subprocess.run(
        [program("amtool"), *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_the_configuration_and_its_templates() -> None:
    """With its three receivers."""
    assert f"{len(RECEIVERS)} receivers" in amtool("check-config", CONFIG)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_an_alert_goes_where_its_severity_says(rule) -> None:
    """By the routes as amtool walks them."""
    labels = (f"alertname={rule.name}", f"severity={rule.severity}", "job=llm_gateway")
    where = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels)
    assert where.split() == [RECEIVERS[rule.severity]]


def test_an_alert_without_a_severity_of_ours_is_not_lost() -> None:
    """Other rules may share the Alertmanager."""
    where = amtool("config", "routes", "test", f"--config.file={CONFIG}", "alertname=Other")
    assert where.split() == ["channel"]


def test_no_secret_stands_in_the_configuration() -> None:
    """Each comes from a file."""
    text = CONFIG.read_text()
    for word in ("password:", "api_url:", "routing_key:", "service_key:", "credentials:", "token:"):
        assert word not in text


def test_inhibitions_name_alerts_that_exist() -> None:
    """A renamed alert would inhibit nothing, and nobody would see why."""
    names = {rule.name for rule in ALERTS}
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert matcher.partition("=")[2].strip('"') in names


class Alertmanager(NamedTuple):
    """A running one.

    Attributes:
        url: Where it listens.
        told: Messages that the channel was sent.
    """

    url: str
    told: list[dict[str, Any]]

    def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}", data, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition and return what it returned."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def channel() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat's webhook, and what it was sent."""
    told: list[dict[str, Any]] = []

    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()
        thread.join()


@pytest.fixture
def alertmanager(
    tmp_path: Path, channel: tuple[str, list[dict[str, Any]]]
) -> Iterator[Alertmanager]:
    """A real one with the sample configuration, its secrets in files, that does not wait."""
    binary = program("prometheus-alertmanager")
    webhook, told = channel
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "slack_url").write_text(webhook)
    shutil.copytree(FOLDER / "templates", tmp_path / "templates")
    text = CONFIG.read_text().replace("/etc/alertmanager/secrets", str(secrets))
    assert "group_wait: 30s" in text
    (tmp_path / "alertmanager.yml").write_text(text.replace("group_wait: 30s", "group_wait: 1s"))
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={tmp_path}/alertmanager.yml",
                f"--storage.path={tmp_path}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
        )
    running = Alertmanager(f"http://127.0.0.1:{port}", told)
    try:
        until(lambda: running.ask("status"))
        yield running
    finally:
        process.kill()
        process.wait()


def posted(alertname: str, severity: str, **labels: str) -> dict[str, Any]:
    """Return an alert as Prometheus posts it."""
    return {
        "labels": {"alertname": alertname, "severity": severity, "job": "llm_gateway", **labels},
        "annotations": {
            "summary": f"{alertname} {labels}",
            "description": "What it means.",
            "runbook_url": f"https://example.org/docs/runbooks/{alertname}.md",
        },
    }


def test_a_dead_instance_is_told_once_and_nothing_else_about_it(alertmanager: Alertmanager) -> None:
    """Its own alerts are inhibited, another instance's reach the channel, with their runbook."""
    lagging = "TidegateLedgerLagging"
    alertmanager.ask(
        "alerts",
        [
            posted("TidegateDown", "critical", instance="a"),
            posted(lagging, "warning", instance="a"),
            posted(lagging, "warning", instance="b"),
            posted("TidegateAvailabilityBurnSlow", "warning"),
        ],
    )
    message = until(
        lambda: next((one for one in alertmanager.told if lagging in json.dumps(one)), None)
    )
    [told] = message["attachments"]
    assert told["title"] == f"1 firing: {lagging}"
    assert told["title_link"] == f"https://example.org/docs/runbooks/{lagging}.md"
    assert "'instance': 'b'" in told["text"]
    assert "'instance': 'a'" not in told["text"]
    assert told["text"].endswith("What it means.")
    states = {
        (one["labels"]["alertname"], one["labels"].get("instance")): one["status"]["state"]
        for one in alertmanager.ask("alerts")
    }
    assert states == {
        ("TidegateDown", "a"): "active",
        (lagging, "a"): "suppressed",
        (lagging, "b"): "active",
        # It is about the job as a whole.
        ("TidegateAvailabilityBurnSlow", None): "active",
    }


def test_each_runbook_silences_its_alert(alertmanager: Alertmanager) -> None:
    """The command of the page, as it stands there."""
    for name in PAGES:
        line = blocks(name, "sh")[-1].replace("http://127.0.0.1:9093", alertmanager.url)
        assert alertmanager.url in line
        done = subprocess.run(
            ["sh", "-euc", line], capture_output=True, text=True, timeout=10, check=False
        )
        assert done.returncode == 0, done.stderr
    silenced = {
        matcher["value"] for one in alertmanager.ask("silences") for matcher in one["matchers"]
    }
    assert silenced == set(PAGES)
