"""PostgreSQL under a gateway: shared by hosts, and away now and then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from outage_load import CONFIG, complaints, outage
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.postgres_server import PostgresServer
from tests.running import RunningGateway

pytestmark = [pytest.mark.process, pytest.mark.external]

PEPPER = "a-pepper-that-every-host-has-0123456789"
SHARED = "  pepper: env:PEPPER"


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIUpstream]:
    """One provider for all."""
    with OpenAIUpstream() as upstream:
        yield upstream


def host(folder: Path, upstream: OpenAIUpstream, database: str, more: str = "") -> RunningGateway:
    """Return a gateway on *database* that is not started yet."""
    folder.mkdir(exist_ok=True)
    config = CONFIG.format(url=upstream.url)
    if more:
        config = config.replace(
            "{database: env:DATABASE_URL}", f"\n  database: env:DATABASE_URL\n{more}"
        )
    environment = {"ACME_KEY": KEY, "DATABASE_URL": database, "PEPPER": PEPPER}
    return RunningGateway(folder, config, environment=environment)


def status_of(gateway: RunningGateway, key: str) -> int:
    """Ask once with *key*."""
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions",
        b'{"model":"plain","messages":[{"role":"user","content":"x"}]}',
        {"Authorization": f"Bearer {key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def is_known(gateway: RunningGateway, key: str) -> bool:
    """Whether *key* may see the models, which is no attempt and makes no row."""
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{gateway.url}/v1/models", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status) == 200
    except urllib.error.HTTPError as error:
        error.close()
        return False


def wait_for(condition: Callable[[], bool], what: str, within_s: float) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def control_pid(gateway: RunningGateway) -> int:
    """Return the pid of the control process."""
    assert gateway.process is not None
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"tidegate.control.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no control process")


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """Stop the server for the block."""
    server.stop()
    try:
        yield
    finally:
        server.start()


async def test_an_outage_costs_no_request_and_no_row(
    tmp_path: Path, upstream: OpenAIUpstream, postgres_server: PostgresServer
) -> None:
    """Stopped, then frozen: known keys go on, and afterwards every row is there, once."""
    database = postgres_server.new_database()
    with host(tmp_path, upstream, database) as gateway:
        key = gateway.create_key("ci", "--config", str(gateway.config))
        wait_for(lambda: is_known(gateway, key), "the key", 1.0)
        outcomes, wrong = await outage(
            gateway, postgres_server, database, key, per_s=150, stopped_s=2.5, frozen_s=6.0
        )
        assert wrong == []
        assert outcomes["200"] > 800
        told = complaints(gateway)
        assert 1 <= len(told) <= 2
        assert all(line["reason"] for line in told)


def test_a_start_without_the_database_serves_the_keys_of_the_last_time(
    tmp_path: Path, upstream: OpenAIUpstream, postgres_server: PostgresServer
) -> None:
    """Only those; what has changed meanwhile counts as soon as the database is back."""
    database = postgres_server.new_database()
    with host(tmp_path, upstream, database) as gateway:
        key, other = (gateway.create_key(name, "--config", str(gateway.config)) for name in "ab")
        wait_for(lambda: status_of(gateway, other) == 200, "the keys", 1.0)
        gateway.stop()
        with stopped(postgres_server):
            gateway.start()
            assert (status_of(gateway, key), status_of(gateway, "tg-unknown")) == (200, 401)
            pid = control_pid(gateway)
            os.kill(pid, signal.SIGKILL)
            ready_again = re.compile(r'"process ready".*"child":"control".*"incarnation":2')
            wait_for(lambda: bool(ready_again.search(gateway.log.read_text())), "control", 10.0)
            assert status_of(gateway, other) == 200
            done = gateway.run_cli("keys", "list", "--config", str(gateway.config))
            assert done.returncode == 1
            assert re.match(r"the database postgresql://.* cannot be used now: ", done.stderr)
        done = gateway.run_cli("keys", "revoke", "a", "--config", str(gateway.config))
        assert done.returncode == 0, done.stderr
        wait_for(lambda: status_of(gateway, key) == 401, "the revocation", 5.0)
        assert status_of(gateway, other) == 200
    ended = gateway.log.read_text()
    assert "serving the keys of the last time" in ended
    assert '"works again"' in ended


def test_a_reload_and_an_upgrade_keep_database_and_pepper(
    tmp_path: Path, upstream: OpenAIUpstream, postgres_url: str
) -> None:
    """Another address or pepper in the file waits for a restart: stored keys must go on."""
    with host(tmp_path, upstream, postgres_url, SHARED) as gateway:
        key = gateway.create_key("ci", "--config", str(gateway.config))
        wait_for(lambda: is_known(gateway, key), "the key", 1.0)
        assert gateway.process is not None
        text = gateway.config.read_text()
        changed = text.replace("env:PEPPER", "another-pepper-of-at-least-32-characters").replace(
            "database: env:DATABASE_URL", "database: postgresql://elsewhere@127.0.0.1:1/x"
        )
        gateway.config.write_text(changed)
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"configuration reloaded"' in gateway.log.read_text(), "the reload", 10.0)
        for setting in ("stores.database", "stores.pepper"):
            told = f'takes effect only at a restart".*"setting":"{re.escape(setting)}"'
            assert re.search(told, gateway.log.read_text())
        assert status_of(gateway, key) == 200
        gateway.config.write_text(text)
        gateway.process.send_signal(signal.SIGUSR2)
        wait_for(lambda: '"upgrade complete"' in gateway.log.read_text(), "the upgrade", 20.0)
        assert status_of(gateway, key) == 200
        later = gateway.create_key("later", "--config", str(gateway.config))
        wait_for(lambda: is_known(gateway, later), "a key made after the upgrade", 1.0)
    assert complaints(gateway) == []


def test_a_first_start_waits_for_the_database_and_says_so(
    tmp_path: Path, upstream: OpenAIUpstream, postgres_server: PostgresServer
) -> None:
    """It does not serve without knowing any key, and needs no second start."""
    database = postgres_server.new_database()
    gateway = host(tmp_path, upstream, database)
    with stopped(postgres_server):
        with gateway.log.open("ab") as log:
            process = subprocess.Popen(
                gateway._command, env=gateway._environment, cwd=tmp_path,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        try:
            wait_for(lambda: bool(complaints(gateway)), "the reason", 10.0)
        except BaseException:
            process.kill()
            raise
    assert process.stdout is not None
    with process.stdout:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("tidegate ready on ") for line in lines)
    process.terminate()
    assert process.wait(20) == 0
    assert len(complaints(gateway)) == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("tidegate@", "nobody@", 'role "nobody" does not exist'),
        ("/test", "/nowhere", 'database "nowhere'),
    ],
)
def test_a_start_that_waiting_cannot_help_fails_with_the_reason(
    tmp_path: Path,
    upstream: OpenAIUpstream,
    postgres_url: str,
    old: str,
    new: str,
    reason: str,
) -> None:
    """A slip in the configuration, not an outage."""
    gateway = host(tmp_path, upstream, postgres_url.replace(old, new))
    with pytest.raises(AssertionError, match="ended with 1") as caught:
        gateway.start()
    assert "stores.database: postgresql://" in str(caught.value)
    assert reason in str(caught.value)


def test_hosts_with_one_pepper_share_keys_and_one_without_is_refused(
    tmp_path: Path, upstream: OpenAIUpstream, postgres_url: str
) -> None:
    """A key of one is known to the other within a second, and its usage is in one table."""
    with (
        host(tmp_path / "one", upstream, postgres_url, SHARED) as one,
        host(tmp_path / "two", upstream, postgres_url, SHARED) as two,
    ):
        key = one.create_key("shared", "--config", str(one.config))
        wait_for(lambda: status_of(two, key) == 200, "the key of the other host", 1.0)
        assert status_of(one, key) == 200
        stranger = host(tmp_path / "three", upstream, postgres_url)
        with pytest.raises(AssertionError, match="ended with 1") as caught:
            stranger.start()
        assert "stores.pepper: the keys in this database were made with" in str(caught.value)
        done = stranger.run_cli("keys", "create", "--name", "x", "--config", str(stranger.config))
        assert done.returncode == 1
        assert "stores.pepper" in done.stderr

        def both_counted() -> bool:
            done = two.run_cli("usage", "--config", str(two.config))
            return re.search(r"^shared +2 ", done.stdout, re.M) is not None

        wait_for(both_counted, "the usage of both hosts", 10.0)
        for gateway in (one, two):
            done = gateway.run_cli("ledger", "verify", "--config", str(gateway.config))
            assert done.returncode == 0, done.stdout
