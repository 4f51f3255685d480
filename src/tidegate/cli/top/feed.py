"""Reads a control port in a thread of its own: once everything, then the event stream.

By the standard library's client: one connection for questions, one for events.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from tidegate.cli.top.board import History, News, Recent, Status
from tidegate.control.live.answers import (
    AlertsAnswer,
    ErrorAnswer,
    InstanceAnswer,
    LimitsAnswer,
    RequestsAnswer,
    SampleEvent,
    SeriesAnswer,
)
from tidegate.control.live.measures import GROUPINGS

ASK_S: Final = 10.0
SILENCE_S: Final = 40.0
"""The port says at least a comment every 15 s."""
LIMITS_EVERY: Final = 2
"""Samples between two questions for limits, which no event tells."""
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0)
MOST_LINE_BYTES: Final = 16 * 1024 * 1024
MOST_ANSWER_BYTES: Final = 64 * 1024 * 1024

_EVENTS: Final[dict[str, Any]] = {
    "sample": SampleEvent,
    "requests": RequestsAnswer,
    "alerts": AlertsAnswer,
    "instance": InstanceAnswer,
}

Answer = TypeVar("Answer")


class Place(NamedTuple):
    """Where a control port is."""

    host: str
    port: int
    is_tls: bool
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Place:
        """Read `http://127.0.0.1:8001`; raises `ValueError` with what is wrong with it."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as http://127.0.0.1:8001")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user name, password, query or fragment")
        is_tls = parts.scheme == "https"
        try:
            port = parts.port or (443 if is_tls else 80)
        except ValueError:
            raise ValueError("has a port outside 1 to 65535") from None
        return cls(parts.hostname, port, is_tls, parts.path.rstrip("/"))


class Refused(Exception):
    """The control port answered with an error; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Feed:
    """Puts news into `news` until it is stopped; connects again by itself.

    A refused token ends it, as asking again with it would only be slowed down.
    """

    def __init__(self, place: Place, token: str) -> None:
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._place = place
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "tidegate-top"}
        self._tls = ssl.create_default_context() if place.is_tls else None
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, also in the middle of waiting for an event."""
        self._stop.set()
        connected = self._socket
        if connected is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                connected.shutdown(socket.SHUT_RDWR)
        self._thread.join(2.0)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._load()
                failures = 0
                self._follow()
                text = "the connection ended; connecting again"
            except Refused as refused:
                text = f"{refused.status}: {refused}"
                if refused.status == 401:
                    self.news.put(Status(text, is_final=True))
                    return
            except (OSError, http.client.HTTPException) as error:
                text = f"no answer from {self._place.host} port {self._place.port}: {_why(error)}"
            except msgspec.MsgspecError as error:
                text = f"an answer that this version does not understand: {error}"
            if not self._stop.is_set():
                self.news.put(Status(text))
            self._stop.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    def _load(self) -> None:
        """Ask for everything that there is."""
        self.news.put(self._ask("/api/instance", InstanceAnswer))
        answers = [self._ask(f"/api/series?range=15m&by={by}", SeriesAnswer) for by in GROUPINGS]
        self.news.put(History(tuple(answers)))
        self.news.put(self._ask("/api/limits", LimitsAnswer))
        self.news.put(self._ask("/api/alerts", AlertsAnswer))
        rows = self._ask("/api/requests?limit=200", RequestsAnswer).requests
        self.news.put(Recent(rows, is_whole=True))

    def _follow(self) -> None:
        """Pass events on until the stream ends."""
        connection = self._connection(SILENCE_S)
        try:
            connection.connect()
            # The connection forgets its socket when the answer ends with it.
            self._socket = connection.sock
            answer = self._get(connection, "/api/live")
            self.news.put(Status("live", is_live=True))
            samples = 0
            for name, data in _events(answer):
                if self._stop.is_set():
                    return
                kind = _EVENTS.get(name)
                if kind is None:
                    continue
                told = msgspec.json.decode(data, type=kind)
                self.news.put(Recent(told.requests) if isinstance(told, RequestsAnswer) else told)
                if name == "sample":
                    samples += 1
                    if samples % LIMITS_EVERY == 0:
                        self.news.put(self._ask("/api/limits", LimitsAnswer))
        finally:
            self._socket = None
            connection.close()

    def _ask(self, path: str, kind: type[Answer]) -> Answer:
        connection = self._connection(ASK_S)
        try:
            data = self._get(connection, path).read(MOST_ANSWER_BYTES)
        finally:
            connection.close()
        return msgspec.json.decode(data, type=kind)

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        place = self._place
        if self._tls is not None:
            return http.client.HTTPSConnection(
                place.host, place.port, timeout=timeout_s, context=self._tls
            )
        return http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)

    def _get(self, connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
        connection.request("GET", self._place.prefix + path, headers=self._headers)
        answer = connection.getresponse()
        if answer.status == 200:
            return answer
        try:
            error = msgspec.json.decode(answer.read(64 * 1024), type=ErrorAnswer).error
        except msgspec.MsgspecError:
            raise Refused(answer.status, "this is not a control port of Tidegate") from None
        raise Refused(answer.status, error.message)


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Return name and data of each event."""
    name, data = "", b""
    while line := answer.readline(MOST_LINE_BYTES):
        if len(line) >= MOST_LINE_BYTES:
            raise http.client.LineTooLong("event")
        line = line.rstrip(b"\r\n")
        if line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"data:"):
            data += line[5:].lstrip(b" ")
        elif not line:
            if data:
                yield name, data
            name, data = "", b""


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
