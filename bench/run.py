"""`make bench`: start a mock upstream, nginx and the gateway, and measure the two in turn.

The system under test has core 0 to itself; load and mock share core 1. CPU time is that of the
whole process tree: supervisor, worker and control process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import measures, report
from bench.load import LoadError
from bench.payloads import (
    BODIES,
    SPACED_MODEL,
    STREAM_EVENTS,
    TRANSLATED_MODEL,
    chat_body,
    messages_body,
)
from bench.systems import MESSAGES_PATH, PATH, Gateway, Mock, Nginx, find_program

RESULTS = Path(__file__).parent / "results"
PARTS = ("memory", "json", "stream", "translated", "latency", "lone", "start", "install")
_SETTLE_S = 2.0


class Run:
    """One run: the systems, what was measured so far, and the tables of it."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._tested_core: int | None = cores[0] if len(cores) > 1 else None
        self._load_core: int | None = cores[1] if len(cores) > 1 else None
        self._folder = folder
        self._rounds, self._duration_s = (2, 1) if quick else (5, 3)
        self._count = 300 if quick else 1_500
        self.figures: dict[str, object] = {}
        self.tables: list[str] = []
        self.mock = Mock(folder / "mock", self._load_core)
        self.nginx = Nginx(folder / "nginx", self._tested_core, self.mock)
        self.gateway = Gateway(folder / "gateway", self._tested_core, self.mock)

    def __enter__(self) -> Run:
        if self._load_core is not None:
            os.sched_setaffinity(0, {self._load_core})
        try:
            for system in (self.mock, self.nginx, self.gateway):
                system.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for system in (self.gateway, self.nginx, self.mock):
            system.stop()

    def memory(self) -> None:
        """Weigh the processes before anything was asked of them."""
        time.sleep(_SETTLE_S)
        rows = measures.memory_rows(self.nginx) + measures.memory_rows(self.gateway)
        self._keep(
            "idle_memory", rows, report.memory_table("idle, no request yet", rows, is_idle=True)
        )

    def json(self) -> None:
        """Whole answers, by the size of the request."""
        rows = [
            self._cpu(f"JSON request, {size}", body, connections=32 if size == "1.7 KB" else 16)
            for size, body in BODIES.items()
        ]
        self._keep("json_cpu", rows, report.cpu_table(rows))
        after = measures.memory_rows(self.nginx) + measures.memory_rows(self.gateway)
        self._keep(
            "memory_after", after, report.memory_table("after 1 MB bodies", after, is_idle=False)
        )

    def stream(self) -> None:
        """Streams of 52 events, as fast as they come and 5 ms apart."""
        spaced = chat_body(stream=True, model=SPACED_MODEL)
        rows = [
            self._cpu("stream, back to back", chat_body(stream=True), stream=True),
            self._cpu("stream, 5 ms apart", spaced, stream=True, connections=64),
        ]
        self._keep("stream_cpu", rows, report.cpu_table(rows))

    def translated(self) -> None:
        """One dialect in, another out: whole answers, and streams of 52 events as above.

        nginx passes on what the client asks in the dialect it came in.
        """
        model = TRANSLATED_MODEL
        rows = [
            self._cpu("JSON, OpenAI → Anthropic", chat_body(stream=False, model=model)),
            self._cpu("JSON, Anthropic → OpenAI", messages_body(stream=False), path=MESSAGES_PATH),
        ]
        self._keep("translated_json_cpu", rows, report.cpu_table(rows))
        chats, spaced = (chat_body(stream=True, model=model + end) for end in ("", "-spaced"))
        rows = [
            self._cpu("OpenAI → Anthropic, back to back", chats, stream=True),
            self._cpu("OpenAI → Anthropic, 5 ms apart", spaced, stream=True, connections=64),
            self._cpu(
                "Anthropic → OpenAI, back to back",
                messages_body(stream=True),
                stream=True,
                path=MESSAGES_PATH,
            ),
            self._cpu(
                "Anthropic → OpenAI, 5 ms apart",
                messages_body(stream=True, model=SPACED_MODEL),
                stream=True,
                path=MESSAGES_PATH,
                connections=64,
            ),
        ]
        self._keep("translated_stream_cpu", rows, report.chunk_table(rows, STREAM_EVENTS))

    def latency(self) -> None:
        """Times of single requests at a rate far from the limit."""
        rows = measures.latency_rows((self.mock, self.nginx, self.gateway), count=self._count)
        self._keep("latency", rows, report.time_table("200 requests/s", rows))

    def lone(self) -> None:
        """One stream at a time."""
        rows = measures.lone_stream_rows((self.mock, self.nginx, self.gateway), count=self._count)
        shown = report.time_table("one stream alone", rows, "lone stream ms")
        self._keep("lone_stream", rows, shown)

    def start(self) -> None:
        """Starts of a gateway of its own, beside the running one."""
        rows = measures.start_rows(self._folder, self._tested_core, self.mock)
        self._keep("start", rows, report.start_table(rows))

    def install(self) -> None:
        """What an installation weighs."""
        size = measures.install_size()
        self._keep("install", size, report.install_table(size))

    def _cpu(
        self,
        work: str,
        body: bytes,
        *,
        stream: bool = False,
        path: str = PATH,
        connections: int = 32,
    ) -> measures.CpuRow:
        return measures.cpu_row(
            work,
            self.nginx,
            self.gateway,
            body,
            stream=stream,
            path=path,
            connections=connections,
            rounds=self._rounds,
            duration_s=self._duration_s,
        )

    def _keep(self, name: str, rows: object, shown: str) -> None:
        self.figures[name] = measures.as_json(rows)
        self.tables.append(shown)
        print(shown, end="\n\n", flush=True)


def _write(run: Run, name: str, machine: dict[str, str]) -> Path:
    today = datetime.now(UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{today}-{name}.json"
    kept = {"date": today, "machine": machine, **run.figures}
    target.write_text(json.dumps(kept, indent=1) + "\n")
    about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
    head = (
        f"# Benchmark of {today}\n\nWritten by `make bench`; figures in [{target.name}]"
        f"({target.name}). Medians with least and most.\n{about}.\n"
    )
    (RESULTS / "latest.md").write_text("\n\n".join((head, *run.tables)) + "\n")
    return target


def main() -> int:
    """Measure what was asked for; write results unless only a part was measured."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, no install")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be repeated")
    parser.add_argument("--name", default="local", help="last part of the result's file name")
    parser.add_argument("--no-write", action="store_true", help="only print")
    given = parser.parse_args()
    parts = given.only or [part for part in PARTS if not (given.quick and part == "install")]
    folder = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    try:
        find_program("wrk")
        machine = report.machine()
        with Run(folder, quick=given.quick) as run:
            for part in PARTS:
                if part in parts:
                    measure: Callable[[], None] = getattr(run, part)
                    measure()
        if not (given.only or given.quick or given.no_write):
            print(f"written to {_write(run, given.name, machine)}")
    except (RuntimeError, LoadError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
