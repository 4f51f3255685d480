"""Real processes: start, one instance a folder, the end."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

import pytest
from double_run import DoubleRun, children_of, is_running, read_all, running, wait_for

pytestmark = pytest.mark.process


def test_ready_means_that_a_request_is_answered_at_once(tmp_path: Path) -> None:
    """The ready line is the last of the start: port, workers and keys are there."""
    began = time.monotonic()
    with running(tmp_path, workers=2) as run:
        assert time.monotonic() - began < 5.0
        assert run.output[-1] == f"tidegate ready on http://127.0.0.1:{run.port}"
        assert run.get("/")[0] == 200
        assert run.known_keys() == {"default"}


def test_the_first_key_is_shown_once_and_works_in_the_line_to_try(tmp_path: Path) -> None:
    """A second start on the same folder shows no key."""
    with running(tmp_path) as run:
        text = "\n".join(run.output)
        secret = re.search(r"^  (tg-\S+)$", text, re.M)
        assert secret
        assert f'-H "Authorization: Bearer {secret[1]}"' in text
        assert f"curl -N http://127.0.0.1:{run.port}/v1/chat/completions" in text
        assert secret[1] not in run.log()
        run.signal(signal.SIGTERM)
        assert run.wait() == 0
        run.close()
        again = run.start()
        assert again.output[-1].startswith("tidegate ready")
        assert "\n".join(again.output).count("tg-") == text.count("tg-")


def test_a_second_gateway_on_one_folder_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    """The message tells the pid that holds the data directory."""
    with running(tmp_path) as run:
        (tmp_path / "second").mkdir()
        second = DoubleRun(tmp_path / "second", data_dir=str(run.data_dir)).launch()
        try:
            assert second.wait() == 1
            assert f"already running on {run.data_dir} (process {run.process.pid})" in second.log()
        finally:
            second.close()
        assert run.get("/")[0] == 200


def test_a_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    """With the port, and without a trace."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = DoubleRun(tmp_path, port=port).launch()
        try:
            assert run.wait() == 1
            assert f"cannot listen on 127.0.0.1 port {port}: another program uses it" in run.log()
            assert "Traceback" not in run.log()
        finally:
            run.close()


def test_a_configuration_error_ends_the_start_and_every_child(tmp_path: Path) -> None:
    """The reason names the setting; the children that were started early are gone."""
    run = DoubleRun(tmp_path, config="limits: {a: {per: key, requests: many, window: 1m}}").launch()
    try:
        children = wait_for(lambda: children_of(run.process.pid), "a child")
        assert run.wait() == 1
        assert "limits.a.requests" in run.log()
        assert not [pid for pid in children if is_running(pid)]
    finally:
        run.close()


def test_a_public_address_without_any_key_is_refused(tmp_path: Path) -> None:
    """No first key is made there; with a key in the file it starts."""
    run = DoubleRun(tmp_path, host="0.0.0.0").launch()
    try:
        assert run.wait() == 1
        assert "there is no API key" in run.log()
    finally:
        run.close()
    keys = "keys: {ci: {secret: env:CI_KEY}}"
    environment = {"CI_KEY": "tg-0123456789abcdef0123456789"}
    with running(tmp_path, host="0.0.0.0", config=keys, environment=environment) as other:
        assert other.known_keys() == {"ci"}


def test_sigterm_lets_a_stream_finish_and_takes_no_new_connection(tmp_path: Path) -> None:
    """Then it exits with 0 and the port is free."""
    with running(tmp_path, workers=2) as run:
        stream = run.open_stream(30)
        run.signal(signal.SIGTERM)
        wait_for(lambda: refuses(run.port), "the end of listening")
        assert run.process.poll() is None
        assert read_all(stream).rstrip().endswith(b"data: [DONE]\n\n\r\n0")
        assert run.wait() == 0
        assert children_of(run.process.pid) == []


def test_a_second_sigterm_ends_streams_in_an_error_event(tmp_path: Path) -> None:
    """At once, although the stream would run for a minute."""
    with running(tmp_path) as run:
        stream = run.open_stream(1200)
        run.signal(signal.SIGTERM)
        wait_for(lambda: run.events("draining"), "the drain")
        run.signal(signal.SIGTERM)
        began = time.monotonic()
        seen = read_all(stream)
        assert b"event: error" in seen
        assert b"[DONE]" not in seen
        assert run.wait() == 0
        assert time.monotonic() - began < 5.0


def test_what_outlasts_the_drain_time_is_cut_with_an_error_event(tmp_path: Path) -> None:
    """The drain has an end of its own."""
    with running(tmp_path, drain_seconds="1s") as run:
        stream = run.open_stream(1200)
        run.signal(signal.SIGTERM)
        assert b"event: error" in read_all(stream)
        assert run.wait() == 0
        assert run.events("drained")[0]["cut"] == 1


def test_readiness_turns_before_connections_are_refused(tmp_path: Path) -> None:
    """During `shutdown_delay` the port accepts and says that it is not ready."""
    with running(tmp_path, workers=2, shutdown_delay="1s") as run:
        assert run.get("/readyz")[0] == 200
        run.signal(signal.SIGTERM)
        wait_for(lambda: run.get("/readyz")[0] == 503, "the turn of readiness", 0.9)
        wait_for(lambda: refuses(run.port), "the end of listening")
        assert run.wait() == 0


def test_the_folder_is_free_after_a_kill_of_the_supervisor(tmp_path: Path) -> None:
    """Kill -9: no child is left within 2 s, and a restart on the same port succeeds."""
    with running(tmp_path, workers=2) as run:
        children = children_of(run.process.pid)
        assert len(children) == 3
        stream = run.open_stream(1200)
        run.signal(signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, children)), "the end of the orphans", 2.0)
        assert b"event: error" in read_all(stream)
        run.close()
        assert run.start().get("/")[0] == 200


def test_a_restart_right_behind_a_kill_waits_for_the_port(tmp_path: Path) -> None:
    """The orphans still hold it when the new supervisor binds."""
    with running(tmp_path, workers=2) as run:
        run.signal(signal.SIGKILL)
        run.wait()
        run.process.stdout.close()
        assert run.start().get("/")[0] == 200


def refuses(port: int) -> bool:
    """Whether connecting is refused."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False
    return False
