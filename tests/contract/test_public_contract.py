"""The fixed names of the public interface, on a real gateway with two workers."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from tests.free_ports import free_port
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# What Debian's Prometheus 2.42 asks for.
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Client:
    """A user with the printed key."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.key = next(
            match[0]
            for line in gateway.output
            if (match := re.search(r"\btg-[A-Za-z0-9_-]{20,}", line))
        )

    def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower case) and body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.gateway.url + path,
            data,
            {name.replace("_", "-"): value for name, value in headers.items()},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, _lower(error.headers), error.read()

    def chat(self, **more: object) -> tuple[int, dict[str, str], bytes]:
        """Ask the demo model."""
        body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **more}
        return self.call("POST", "/v1/chat/completions", body, Authorization=f"Bearer {self.key}")


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with RunningGateway(tmp_path_factory.mktemp("contract"), workers=2) as gateway:
        yield Client(gateway)


def test_the_first_start_prints_one_key_and_a_curl_line_that_works(client: Client) -> None:
    """Key and command are there before the ready line; run as printed, it streams."""
    output = client.gateway.output
    assert output[-1] == f"tidegate ready on {client.gateway.url}"
    assert sum(client.key in line for line in output) == 2
    text = "\n".join(output)
    command = text[text.index("curl ") : text.index("tidegate ready")].strip()
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.count("data: ") > 5
    assert done.stdout.rstrip().endswith("data: [DONE]")


def test_a_second_start_keeps_the_key_and_prints_none(tmp_path: Path) -> None:
    """The secret is shown once; it goes on working."""
    gateway = RunningGateway(tmp_path)
    with gateway:
        first = Client(gateway)
        assert first.chat()[0] == 200
    with gateway:
        assert not any("tg-" in line for line in gateway.output)
        assert first.chat()[0] == 200


def test_the_page_is_there_for_anyone_in_the_format_of_the_seed(client: Client) -> None:
    """Content type to the letter; both counters as floats; no `_created`; HEAD and the alias."""
    for path in ("/api/v1/metrics", "/metrics"):
        for accept in (None, "*/*", "text/plain"):
            headers = {} if accept is None else {"Accept": accept}
            status, answer, body = client.call("GET", path, **headers)
            assert (status, answer["content-type"]) == (200, TEXT_TYPE)
    page = body.decode()
    assert re.search(
        r"# HELP rate_limit_allowed_total Total number of requests allowed by rate limiter\n"
        r"# TYPE rate_limit_allowed_total counter\nrate_limit_allowed_total \d+\.0\n",
        page,
    )
    assert re.search(
        r"# HELP rate_limit_blocked_total Total number of requests blocked by rate limiter\n"
        r"# TYPE rate_limit_blocked_total counter\nrate_limit_blocked_total \d+\.0\n",
        page,
    )
    assert "_created" not in page
    names = {family.name for family in read_text(page)}
    assert {
        "python_info", "python_gc_objects_collected", "python_gc_objects_uncollectable",
        "python_gc_collections", "python_threads", "process_cpu_seconds",
        "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds",
        "process_max_fds", "process_start_time_seconds", "tidegate_requests",
        "tidegate_build_info",
    } <= names  # fmt: skip
    status, answer, body = client.call("HEAD", "/api/v1/metrics")
    assert (status, body) == (200, b"")
    assert int(answer["content-length"]) > 1000


def test_openmetrics_and_gzip_are_given_to_who_asks(client: Client) -> None:
    """A scraper's own header gets OpenMetrics; the compressed page is the page."""
    _, answer, body = client.call(
        "GET", "/metrics", Accept=PROMETHEUS_ACCEPT, Accept_Encoding="gzip"
    )
    assert answer["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer["content-encoding"] == "gzip"
    text = gzip.decompress(body).decode()
    assert text.endswith("# EOF\n")
    assert "rate_limit_allowed" in {family.name for family in read_openmetrics(text)}


def test_promtool_finds_nothing_to_say(client: Client) -> None:
    """`promtool check metrics` on the live page."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=client.gateway.page(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_real_prometheus_scrapes_it_with_the_shipped_files(
    client: Client, tmp_path: Path
) -> None:
    """Both counters and the success rate come back from its query API."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(SHIPPED / "rules" / "*.yml")]
    job = config["scrape_configs"][0]
    assert (job["job_name"], job["metrics_path"]) == ("llm_gateway", "/api/v1/metrics")
    job["scrape_interval"] = "1s"
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{client.gateway.port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus, f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        client.chat()
        for query in (
            "rate_limit_allowed_total",
            "rate_limit_blocked_total",
            "process_resident_memory_bytes",
            'python_info{implementation="CPython"}',
        ):
            assert len(_query(port, query)) == 1, query
        allowed = float(_query(port, "rate_limit_allowed_total")[0]["value"][1])
        assert allowed <= counters(client.gateway.page())("rate_limit_allowed_total")
    finally:
        process.terminate()
        process.wait(20)


def _query(port: int, expression: str) -> list[dict[str, Any]]:
    """Ask until there is a result; Prometheus needs a moment for its first scrape."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found = json.load(answer)["data"]["result"]
        except (OSError, KeyError):
            found = []
        if found:
            return list(found)
        time.sleep(0.2)
    raise AssertionError(f"no result for {expression}")


def test_a_client_that_reads_the_page_after_its_answer_finds_itself(client: Client) -> None:
    """Over two workers, for whole answers, streams, refusals and unknown models."""
    read = counters(client.gateway.page())
    for number in range(20):
        status = client.chat(stream=number % 2 == 0, max_tokens=3)[0]
        assert status == 200
        now = counters(client.gateway.page())
        for name in ("rate_limit_allowed_total", "tidegate_requests_total"):
            assert now(name) == read(name) + number + 1, name
    assert client.chat(model="nope")[0] == 404
    now = counters(client.gateway.page())
    assert now("rate_limit_allowed_total") == read("rate_limit_allowed_total") + 20
    assert now("tidegate_requests_total", status="404") == (
        read("tidegate_requests_total", status="404") + 1
    )


def test_client_text_never_becomes_a_label(client: Client) -> None:
    """Models, paths, keys and agents of strangers leave the number of series as it was."""
    client.call("GET", "/nothing-at-all")
    client.chat(model="nope")
    client.call("POST", "/v1/chat/completions", {}, Authorization="Bearer tg-wrong")
    before = client.gateway.page()
    for number in range(60):
        client.call("GET", f"/path-{number}", User_Agent=f"agent-{number}")
        client.chat(model=f"model-{number}")
        client.call("POST", "/v1/chat/completions", {}, Authorization=f"Bearer tg-{number}",
                    X_Request_Id=f"id-{number}")  # fmt: skip
        if number > 9:
            break
    after = client.gateway.page()
    for word in ("path-", "agent-", "model-", "tg-", "id-"):
        assert word not in after.replace(before, "")

    def series(page: str) -> int:
        return sum(not line.startswith("#") for line in page.splitlines())

    assert series(after) == series(before)


def test_health_is_true_and_errors_are_json_in_the_dialect(client: Client) -> None:
    """Liveness, readiness and the seed's health need no key."""
    assert client.call("GET", "/livez")[0] == 200
    assert client.call("GET", "/readyz")[0] == 200
    assert json.loads(client.call("GET", "/api/v1/health")[2]) == {"status": "ok"}
    status, answer, body = client.call("GET", "/v1/nothing")
    assert (status, answer["content-type"]) == (404, "application/json")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert answer["x-request-id"].startswith("req_")


def test_keys_made_and_revoked_by_command_are_effective_within_a_second(client: Client) -> None:
    """On a running gateway, on every worker."""
    secret = client.gateway.create_key("second")
    mine = Client(client.gateway)
    mine.key = secret
    _until(lambda: all(mine.chat(max_tokens=1)[0] == 200 for _ in range(4)), 1.5)
    done = client.gateway.run_cli("keys", "revoke", "second")
    assert done.returncode == 0, done.stderr
    _until(lambda: all(mine.chat(max_tokens=1)[0] == 401 for _ in range(4)), 1.5)
    listed = client.gateway.run_cli("keys", "list")
    assert secret not in listed.stdout + listed.stderr


def _until(true: Any, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not so within {within_s} s"


def test_a_stream_is_tls_too_and_a_public_bind_needs_a_key(tmp_path: Path) -> None:
    """`server.tls` serves HTTPS; an address of the world without any key is refused."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: apt-get install openssl")
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    config = f"""
server: {{tls: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}
keys: {{tls: {{secret: env:TLS_KEY}}}}
"""
    gateway = RunningGateway(tmp_path, config, environment={"TLS_KEY": "tg-tls-0123456789abcdef"})
    with gateway:
        context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        url = f"https://127.0.0.1:{gateway.port}/livez"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            assert answer.read() == b"ok\n"
    bare = RunningGateway(tmp_path / "bare", arguments=("--host", "0.0.0.0"))
    (tmp_path / "bare").mkdir()
    with pytest.raises(AssertionError, match=r"0\.0\.0\.0.*key"):
        bare.start()
