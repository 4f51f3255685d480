"""The far side of a request that no client waits for: its answer goes into a log of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

import msgspec

from tidegate.dialects.sse import event_data
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.edge.exchange import ClientWatcher, Exchange, HeadMemo
from tidegate.errors import ClientGone, Unavailable
from tidegate.responses.event_log import EventLog
from tidegate.responses.log_room import LogFull

log = logging.getLogger("tidegate.responses")


class Told(msgspec.Struct):
    """What is read of an event.

    Attributes:
        type: Such as `response.completed`.
        sequence_number: Its place in the stream.
        response: The response as far as it came, as JSON; empty in events that hold none.
    """

    type: str = ""
    sequence_number: int = -1
    response: msgspec.Raw = msgspec.Raw(b"")

    @property
    def is_last(self) -> bool:
        """Whether nothing of the response can follow."""
        return self.type in LAST_EVENTS


LAST_EVENTS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_decode = msgspec.json.Decoder(Told).decode


def told_in(event: bytes) -> Told | None:
    """Read one event; None for a comment and for what is none."""
    payload = event_data(event)
    if payload is None:
        return None
    try:
        return _decode(payload)
    except UNREADABLE:
        return None


class BackgroundExchange:
    """See `edge.exchange.Exchange`; nobody can leave it.

    Args:
        asked: The request that began it.
        events: Takes the stream.
        rename: Puts our id of the response in place of a provider's.

    Attributes:
        last: The newest piece of the stream.
    """

    def __init__(self, asked: Exchange, events: EventLog, rename: Callable[[bytes], bytes]) -> None:
        self.method = asked.method
        self.path = asked.path
        self.query = asked.query
        self.headers = asked.headers
        self.client_ip = asked.client_ip
        self.started_at = monotonic()
        self.body: bytes | None = b""
        self.disconnected = False
        self.watcher: ClientWatcher | None = None
        self.memo = HeadMemo()
        self.task: asyncio.Task[None] | None = None
        self.last = b""
        self._events = events
        self._rename = rename

    async def read_body(self, max_bytes: int) -> bytes:
        """See `Exchange`; the body was read by the request that began it."""
        raise ClientGone

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See `Exchange`; a whole answer was kept on its way here."""

    def start(self, status: int, headers: bytes) -> None:
        """See `Exchange`."""

    def write(self, data: bytes) -> None:
        """Log events; comments are for connections.

        Raises `Unavailable` where there is no room for them.
        """
        if data.startswith(b":"):
            return
        data = self._rename(data)
        try:
            self._events.append(data)
        except LogFull as full:
            log.warning("a response was ended", extra={"fields": {"reason": str(full)}})
            raise Unavailable(str(full)) from None
        except OSError as error:
            log.error("events could not be kept", extra={"fields": {"error": error.strerror}})
            raise Unavailable("The gateway cannot keep this response now.") from None
        self.last = data

    def write_end(self, data: bytes) -> None:
        """Log the last event, whatever room there is. Raises `OSError`."""
        self._events.append(data, is_end=True)

    def end(self) -> None:
        """See `Exchange`."""

    def abort(self) -> None:
        """See `Exchange`."""
