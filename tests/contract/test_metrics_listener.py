"""The metrics page's own listener: what it serves, and that nothing takes it away."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from tests.contract.raw_requests import PATHS, get, until
from tests.free_ports import free_port
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

BASE = """
providers: {demo: {}}
models: {mine: {targets: [demo/demo]}}
keys: {k: {secret: env:ACCESS_KEY}}
"""
ENVIRONMENT = {
    "ACCESS_KEY": "tg-access-0123456789abcdef",
    "SCRAPE_TOKEN": "scrape-0123456789abcdef",
    "OTHER_TOKEN": "other-scrape-0123456789",
}
KEY = "Authorization: Bearer tg-access-0123456789abcdef"


def workers_of(gateway: RunningGateway) -> list[int]:
    """Return the pids of the running workers."""
    assert gateway.process is not None
    supervisor = gateway.process.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"tidegate.workers.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def signalled(gateway: RunningGateway, number: signal.Signals, word: str) -> None:
    """Send a signal to the supervisor and wait until the log has said *word* once more."""
    assert gateway.process is not None
    before = gateway.log.read_text().count(word)
    gateway.process.send_signal(number)
    until(lambda: gateway.log.read_text().count(word) > before, word)


class Scraper:
    """Reads the page all the time from a second thread; notes what was not a whole page."""

    def __init__(self, port: int) -> None:
        self.pages = 0
        self.failures: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = get(self._port, "/metrics")
                if answer.status != 200 or "rate_limit_allowed_total" not in answer.body:
                    self.failures.append(f"{answer.status} {answer.body[:80]}")
                self.pages += 1
            except (AssertionError, ConnectionResetError) as error:
                # A worker that is killed takes the answer with it that it was writing.
                self.failures.append(f"cut: {error!r}")
            except OSError as error:
                self.failures.append(f"refused: {error!r}")


def test_the_page_and_the_probes_are_there_and_nothing_else(tmp_path: Path) -> None:
    """The data port answers 404 for the page, and all else as before."""
    page = free_port()
    config = f"metrics: {{listen: '127.0.0.1:{page}'}}\n" + BASE
    with RunningGateway(tmp_path, config, workers=2, environment=ENVIRONMENT) as gateway:
        for path in PATHS:
            assert get(page, path).status == 200
            assert get(page, path, method="HEAD").status == 200
            assert get(gateway.port, path).status == 404
            assert get(gateway.port, path, KEY).status == 404
        for path in ("/livez", "/readyz"):
            assert get(page, path).status == get(gateway.port, path).status == 200
        assert get(gateway.port, "/v1/models", KEY).status == 200
        for path in ("/v1/models", "/v1/chat/completions", "/api/v1/health", "/", "/metrics/x"):
            assert get(page, path, KEY).status == 404
        assert f'"metrics_url":"http://127.0.0.1:{page}"' in gateway.log.read_text()
        # A request over the data port is on the page at once, whichever worker answers.
        assert counters(get(page, "/metrics").body)("rate_limit_allowed_total") == 1.0
    with pytest.raises(ConnectionRefusedError):
        get(page, "/metrics")


def test_it_survives_workers_killed_in_the_middle(tmp_path: Path) -> None:
    """No connection is refused while workers die; what they had counted stays."""
    page = free_port()
    config = f"metrics: {{listen: '127.0.0.1:{page}'}}\n" + BASE
    with RunningGateway(tmp_path, config, workers=2, environment=ENVIRONMENT) as gateway:
        for _ in range(5):
            assert get(gateway.port, "/v1/models", KEY).status == 200
        with Scraper(page) as scraper:
            for _ in range(3):
                before = workers_of(gateway)
                os.kill(before[0], signal.SIGKILL)
                until(
                    lambda gone=before[0]: (
                        len(workers_of(gateway)) == 2 and gone not in workers_of(gateway)
                    ),
                    "a new worker",
                )
                seen = scraper.pages
                until(lambda least=seen + 20: scraper.pages > least, "pages")
        assert not [failure for failure in scraper.failures if not failure.startswith("cut")]
        assert len(scraper.failures) <= 3
        assert counters(get(page, "/metrics").body)("rate_limit_allowed_total") == 5.0


def test_it_survives_an_upgrade_in_place(tmp_path: Path) -> None:
    """The new program goes on with the same socket; nothing is refused or cut."""
    page = free_port()
    config = f"metrics: {{listen: '127.0.0.1:{page}'}}\n" + BASE
    with RunningGateway(tmp_path, config, environment=ENVIRONMENT) as gateway:
        assert get(gateway.port, "/v1/models", KEY).status == 200
        for _ in range(2):
            old = workers_of(gateway)
            with Scraper(page) as scraper:
                signalled(gateway, signal.SIGUSR2, "upgrade complete")
                until(
                    lambda old=old: not set(old) & set(workers_of(gateway)), "the old workers' end"
                )
            assert scraper.failures == []
            assert scraper.pages > 0
        assert get(gateway.port, "/metrics").status == 404
        assert counters(get(page, "/metrics").body)("rate_limit_allowed_total") == 1.0
        assert gateway.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        get(page, "/metrics")


@pytest.mark.parametrize("has_listener", [True, False])
def test_a_reload_that_would_move_it_is_refused_as_a_whole(
    tmp_path: Path, has_listener: bool
) -> None:
    """`access: open`, meant for a listener of its own, must not open the data port's page."""
    page = free_port()
    guarded = "access: token, token: env:SCRAPE_TOKEN"
    listening = f"listen: '127.0.0.1:{page}'"
    before = f"metrics: {{{guarded}{', ' + listening if has_listener else ''}}}\n"
    after = f"metrics: {{access: open{'' if has_listener else ', ' + listening}}}\n"
    bearer = f"Authorization: Bearer {ENVIRONMENT['SCRAPE_TOKEN']}"
    with RunningGateway(tmp_path, before + BASE, environment=ENVIRONMENT) as gateway:
        port = page if has_listener else gateway.port
        assert get(port, "/metrics", bearer).status == 200
        gateway.config.write_text(after + BASE)
        signalled(gateway, signal.SIGHUP, "configuration refused, the old one stays")
        assert "metrics.listen: cannot change while the gateway runs" in gateway.log.read_text()
        # An upgrade in place keeps it as well.
        signalled(gateway, signal.SIGUSR2, "upgrade complete")
        assert get(port, "/metrics").status == 401
        assert get(port, "/metrics", bearer).status == 200
        assert get(gateway.port, "/metrics", bearer).status == (404 if has_listener else 200)
        # What can change does, once the rest is as it was.
        gateway.config.write_text(before.replace("SCRAPE_TOKEN", "OTHER_TOKEN") + BASE)
        signalled(gateway, signal.SIGHUP, "configuration reloaded")
        until(lambda: get(port, "/metrics", bearer).status == 401, "the new token")
        other = f"Authorization: Bearer {ENVIRONMENT['OTHER_TOKEN']}"
        assert get(port, "/metrics", other).status == 200


def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path) -> None:
    """The message names the setting, and the data port is free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = taken.getsockname()[1]
        config = f"metrics: {{listen: '127.0.0.1:{page}'}}\n" + BASE
        gateway = RunningGateway(tmp_path, config, environment=ENVIRONMENT)
        with pytest.raises(AssertionError, match=rf"metrics\.listen: cannot listen .*port {page}"):
            gateway.start()
        with pytest.raises(ConnectionRefusedError):
            get(gateway.port, "/livez")


def test_it_has_a_certificate_of_its_own_that_a_reload_renews(tmp_path: Path) -> None:
    """TLS on the page's listener, plain HTTP on the data port."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: apt-get install openssl")
    page = free_port()
    certificate, key = tmp_path / "page.pem", tmp_path / "page.key"

    def renew() -> str:
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", str(key), "-out", str(certificate),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        return certificate.read_text()

    def served() -> str:
        context = ssl.create_default_context(cadata=certificate.read_text())
        with (
            socket.create_connection(("127.0.0.1", page), 5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            secure.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert secure.recv(64).startswith(b"HTTP/1.1 200 ")
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")

    first = renew()
    # Relative to the file, as `server.tls` is.
    tls = "{certificate: page.pem, key: page.key}"
    config = f"metrics: {{listen: '127.0.0.1:{page}', tls: {tls}}}\n" + BASE
    with RunningGateway(tmp_path, config, environment=ENVIRONMENT) as gateway:
        assert served() == first
        assert get(gateway.port, "/livez").status == 200
        second = renew()
        signalled(gateway, signal.SIGHUP, "configuration reloaded")
        assert served() == second
        gateway.config.write_text(config.replace(f", tls: {tls}", ""))
        signalled(gateway, signal.SIGHUP, "configuration refused, the old one stays")
        assert "metrics.tls: cannot change while the gateway runs" in gateway.log.read_text()
        assert served() == second
