"""The benchmark measures what it says, and refuses to measure what failed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.cpu import cpu_ns, process_tree
from bench.load import LoadError, ask_streams_in_turn, request_bytes, stream_content
from bench.measures import Spread
from bench.payloads import BODIES, STREAM_EVENTS, chat_body, stream_events
from bench.report import table
from bench.systems import Mock

ROOT = Path(__file__).parents[2]
_PATH = f"{os.environ['PATH']}:/usr/sbin"

needs_programs = pytest.mark.skipif(
    not (shutil.which("nginx", path=_PATH) and shutil.which("wrk")),
    reason="nginx and wrk are not installed",
)


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Mock]:
    """The mock upstream in a process of its own."""
    system = Mock(tmp_path, core=None)
    system.start()
    yield system
    system.stop()


def test_bodies_have_the_sizes_that_the_tables_name() -> None:
    """A row that says 49 KB was measured with 49 KB."""
    for name, body in BODIES.items():
        number, unit = name.split()
        size = float(number) * {"KB": 1_000, "MB": 1_000_000}[unit]
        assert abs(len(body) - size) < 0.05 * size, name


def test_the_mock_streams_every_event(mock: Mock) -> None:
    """A stream through any system is compared with these events."""
    request = request_bytes(mock, chat_body(stream=True))
    answers = ask_streams_in_turn(mock.stream_port, request, count=3)
    assert len(stream_events(include_usage=False)) == STREAM_EVENTS
    for took_s, answer in answers:
        assert took_s > 0
        assert stream_content(answer) == b"".join(stream_events(include_usage=False))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "not a 200"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:", "cut"),
    ],
)
def test_an_answer_that_failed_ends_the_measurement(answer: bytes, reason: str) -> None:
    """The figures of a failing system would look very good."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(LoadError, match=reason):
            ask_streams_in_turn(listener.getsockname()[1], b"GET / HTTP/1.1\r\n\r\n", count=1)
        thread.join(10)


def test_cpu_time_counts_children_and_threads() -> None:
    """A program that works in a child of a child is charged for it."""
    burn = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    code = (
        "import subprocess, sys, threading\n"
        f"burn = {burn!r}\n"
        "child = subprocess.Popen([sys.executable, '-c', burn + 'print(1)\\ninput()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint('done', flush=True)\ninput()\nchild.kill()\nchild.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        tree = process_tree(process.pid)
        used_s = sum(cpu_ns(process.pid).values()) / 1e9
        process.stdin.write(b"\n")
    assert len(tree) == 2
    assert used_s > 0.2


def test_a_spread_is_median_and_bounds() -> None:
    """One busy moment moves a bound, not the figure."""
    assert Spread.of([3.0, 1.0, 100.0]) == Spread(3.0, 1.0, 100.0)


def test_tables_are_markdown() -> None:
    """The tables of the terminal are those of the results file."""
    assert table(("a", "b"), [("long", "1")]) == "| a    | b |\n|------|--:|\n| long | 1 |"


@needs_programs
@pytest.mark.process
@pytest.mark.external
@pytest.mark.timeout(180)
def test_a_quick_run_compares_with_nginx() -> None:
    """`make bench` works: every answer was good, and both sides have figures."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.run", "--quick", "--only", "stream", "--only", "lone"],
        cwd=ROOT,
        env={"PATH": _PATH, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    assert "| stream, back to back" in done.stdout
    assert "| tidegate" in done.stdout
