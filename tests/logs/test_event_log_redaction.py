"""Whatever way a text takes into a process's log, credentials do not come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tidegate.control.eventlog import EventLog

_PROGRAM = """
import logging, sys, threading, warnings
from tidegate.control import log_handler
from tidegate.control.eventlog import EventLog
from tidegate.logs.redact import know

know(["configured secret"])
log_handler.install(EventLog("worker-2", level="debug", human=False))
log = logging.getLogger("tidegate.pipeline")

class Gone:
    def __del__(self):
        raise ValueError("sk-in-a-finalizer-01")

try:
    raise ValueError("sk-in-an-exception-1")
except ValueError:
    extra = {"fields": {"request_id": "req_1"}}
    log.exception("failed with %s", "Bearer in-a-message", extra=extra)
log.debug("configured secret")
log.warning("%s and %s", "one argument")  # one is missing
logging.getLogger("asyncio").error("https://user:in-a-url@host/")
warnings.warn("api_key=in-a-warning")
thread = threading.Thread(target=lambda: 1 / int("sk-in-a-thread-0001"))
thread.start()
thread.join()
Gone()
raise RuntimeError("x-api-key: in-the-main-thread")
"""


def test_every_way_into_the_log_is_masked() -> None:
    """Records, exceptions, threads, finalizers, warnings, the end of the process."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=30
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert "in-a" not in done.stderr
    assert "in-the" not in done.stderr
    assert "configured" not in done.stderr
    events = [line["event"] for line in lines]
    assert events == [
        "failed with Bearer ***",
        "***",
        "a record could not be written",
        "https://***@host/",
        events[4],
        "an exception ended a thread",
        "an exception had nowhere to go",
        "an exception ended the process",
    ]
    assert "api_key=***" in events[4]
    assert lines[0]["request_id"] == "req_1"
    assert lines[0]["error"] == "ValueError"
    assert "reason" not in lines[0]
    assert lines[-1]["reason"] == "x-api-key: ***"
    assert done.returncode == 1


@pytest.mark.parametrize("human", [True, False])
def test_both_forms_of_a_line_are_masked(human: bool) -> None:
    """Plain text on a terminal, JSON for a collector; a line stays one line."""
    reader, writer = os.pipe()
    log = EventLog("control", stream_fd=writer, human=human)
    log.error("sk-0123456789abcdef", reason="token=abc\nforged line\x1b[2J", paths=["?key=1"])
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    assert len(lines) == 1
    for secret in ("sk-0", "token=abc", "key=1", "\x1b"):
        assert secret not in lines[0]
