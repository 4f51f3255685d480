"""A worker with a small data plane of its own: these tests are about processes, not models.

`python -m double_worker` in place of `python -m tidegate.workers.worker`.

Paths: `/` answers `ok` with key and configuration generations; `/stream` sends a line each
50 ms until it has sent ten times the query's number; `/hang` blocks the loop; `/exit` ends
the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from tidegate.config.snapshot import KeySnapshot, Snapshot
from tidegate.edge.exchange import Exchange
from tidegate.errors import ConfigError
from tidegate.workers import worker

TICK_S = 0.05


class DoublePlane:
    """Answers without any upstream."""

    def __init__(self, snapshot: Snapshot, keys: tuple[KeySnapshot, ...]) -> None:
        self.draining = False
        self.snapshot = snapshot
        self.keys = keys
        self.handler = self.handle
        self.front = None

    async def handle(self, exchange: Exchange) -> None:
        if exchange.path == b"/stream":
            await self.stream(exchange)
            return
        if exchange.path == b"/hang":
            time.sleep(float(exchange.query))  # noqa: ASYNC251 (that is the point)
        if exchange.path == b"/exit":
            os._exit(int(exchange.query))
        if exchange.path == b"/readyz":
            exchange.answer(503 if self.draining else 200, b"", b"")
            return
        names = " ".join(sorted(key.name for key in self.keys))
        text = f"pid={os.getpid()} generation={self.snapshot.generation} keys={names}"
        exchange.answer(200, b"content-type: text/plain\r\n", text.encode())

    def observe(self, connections: int, active: int) -> None:
        """Nobody looks here."""

    async def finish_jobs(self, within_s: float) -> bool:
        return True

    def recent_rows(self, is_watched: bool) -> None:
        """Nobody looks here either."""

    def note_refusal(self, rule: str, status: int) -> None:
        """Nobody counts here."""

    def note_error(self, error: BaseException) -> None:
        """Say it on standard error."""
        sys.stderr.write(f"{error!r}\n")

    async def stream(self, exchange: Exchange) -> None:
        exchange.start(200, b"content-type: text/event-stream\r\n")
        try:
            for number in range(int(exchange.query)):
                exchange.write(b"data: %d\n\n" % number)
                await asyncio.sleep(TICK_S)
        except asyncio.CancelledError:
            exchange.write(b"event: error\n\n")
            exchange.end()
            raise
        exchange.write(b"data: [DONE]\n\n")
        exchange.end()

    def apply(self, snapshot: Snapshot) -> None:
        self.check(snapshot)
        self.snapshot = snapshot

    def check(self, snapshot: Snapshot) -> None:
        if any(model.name == "refuse-me" for model in snapshot.models):
            raise ConfigError([("models.refuse-me", "the double refuses this")])
        if any(model.name == "kill-me" for model in snapshot.models):
            os._exit(9)

    def set_keys(self, keys: tuple[KeySnapshot, ...], generation: int) -> None:
        self.keys = keys

    def close(self) -> None:
        pass


class DoubleWorker(worker.Worker):
    """A real worker around the double."""

    def make_plane(self, snapshot: Snapshot, keys: tuple[KeySnapshot, ...]) -> DoublePlane:
        return DoublePlane(snapshot, keys)


if __name__ == "__main__":
    worker._import_data_plane = lambda: None
    sys.exit(worker.main(DoubleWorker))
