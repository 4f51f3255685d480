"""What a reload must never do: lose the configuration, or go on with an old certificate."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.running import RunningGateway

pytestmark = pytest.mark.process

CONFIG = """
providers: {demo: {}}
models: {mine: {targets: [demo/demo]}}
keys: {k: {secret: env:GUARD_KEY}}
"""
ENVIRONMENT = {"GUARD_KEY": "tg-guard-0123456789abcdef"}


def _until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.02)


def _generation(gateway: RunningGateway) -> str:
    page = gateway.page()
    return next(
        line.split()[1]
        for line in page.splitlines()
        if line.startswith("tidegate_config_generation ")
    )


@pytest.mark.parametrize("damage", ["empty", "gone", "cut"])
def test_a_file_that_is_lost_or_cut_off_does_not_mean_all_defaults(
    tmp_path: Path, damage: str
) -> None:
    """The configuration in force stays, and the log says why."""
    with RunningGateway(tmp_path, CONFIG, environment=ENVIRONMENT) as gateway:
        before = _generation(gateway)
        if damage == "gone":
            gateway.config.unlink()
        else:
            gateway.config.write_text("" if damage == "empty" else CONFIG[:18])
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: "refused" in gateway.log.read_text())
        assert _generation(gateway) == before
        gateway.config.write_text(CONFIG)
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: _generation(gateway) != before)


def test_a_renewed_certificate_is_served_after_a_reload(tmp_path: Path) -> None:
    """The same paths, a new certificate: new connections get it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: apt-get install openssl")

    def renew() -> str:
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        return (tmp_path / "cert.pem").read_text()

    def served(port: int) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            context.wrap_socket(plain) as secure,
        ):
            return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")

    first = renew()
    tls = f"server: {{tls: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}\n"
    with RunningGateway(tmp_path, tls + CONFIG, environment=ENVIRONMENT) as gateway:
        assert gateway.process is not None
        assert served(gateway.port) == first
        second = renew()
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: served(gateway.port) == second)
        (tmp_path / "key.pem").write_text("no key")
        gateway.process.send_signal(signal.SIGHUP)
        _until(lambda: "refused" in gateway.log.read_text())
        assert served(gateway.port) == second
