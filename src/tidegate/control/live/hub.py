"""Passes events on to whoever watches, never waiting for any of them."""

from __future__ import annotations

import asyncio
from typing import Final

MOST_VIEWERS: Final = 20
QUEUED_EVENTS: Final = 32
"""A viewer that is so many events behind is too slow, and is let go: it may come again."""


class TooManyViewers(Exception):
    """There is no room for another viewer."""


class Viewer:
    """One open stream of events.

    Attributes:
        is_slow: It did not keep up and was let go.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_EVENTS)
        self.is_slow = False
        self.is_over = False

    async def next(self, patience_s: float) -> bytes | None:
        """Return the next event, `b""` after *patience_s* without one, None at the end."""
        if self.is_over and self._queue.empty():
            return None
        try:
            return await asyncio.wait_for(self._queue.get(), patience_s)
        except TimeoutError:
            return b""

    def put(self, event: bytes) -> bool:
        """Queue *event*; return False when there is no room for it."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.is_slow = True
            return False
        return True

    def end(self) -> None:
        """Let the stream end after what is queued."""
        self.is_over = True
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)


class Hub:
    """All viewers of this process."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self) -> Viewer:
        """Return a new viewer; give it to `leave` at its end.

        Raises:
            TooManyViewers: Twenty are there already.
        """
        if len(self._viewers) >= MOST_VIEWERS:
            raise TooManyViewers
        viewer = Viewer()
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget *viewer*."""
        self._viewers.discard(viewer)

    def send(self, kind: str, data: bytes) -> None:
        """Queue one event for everybody."""
        event = sse_event(kind, data)
        for viewer in list(self._viewers):
            if not viewer.put(event):
                self._viewers.discard(viewer)
                viewer.end()

    def close(self) -> None:
        """End every stream."""
        for viewer in list(self._viewers):
            viewer.end()
        self._viewers.clear()


def sse_event(kind: str, data: bytes) -> bytes:
    """Frame one event; *data* is JSON on one line."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
