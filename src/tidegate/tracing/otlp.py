"""Sends one OTLP message over HTTP; blocking, for threads that have nothing else to do."""

from __future__ import annotations

import gzip
import http.client
import socket
import ssl
import time
from typing import Final, Literal
from urllib.parse import urlsplit

from tidegate import __version__
from tidegate.config.snapshot import TracingSnapshot

Result = Literal["sent", "refused", "failed"]
"""`failed` may be tried again: nobody answered, or the collector asks for that."""

TIMEOUT_S: Final = 5.0
"""How long one step of an exchange may take."""

MAX_ANSWER_BYTES: Final = 64 * 1024
_GZIP_FROM_BYTES: Final = 2048
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})


class OtlpSender:
    """Posts messages to one path of a collector and keeps the connection.

    Args:
        settings: `endpoint` must be there.
        path: `/v1/traces` or `/v1/metrics`.
    """

    def __init__(self, settings: TracingSnapshot, path: str) -> None:
        assert settings.endpoint is not None
        parts = urlsplit(settings.endpoint)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._path = parts.path.rstrip("/") + path
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"tidegate/{__version__}",
            **dict(settings.headers),
        }
        self._connection: http.client.HTTPConnection | None = None

    def send(self, message: bytes, deadline_s: float | None = None) -> Result:
        """Post *message*; never raises.

        Args:
            message: Serialized export request.
            deadline_s: `time.monotonic` after which it must be over; at most `TIMEOUT_S` a step
                in any case.
        """
        headers = self._headers
        if len(message) >= _GZIP_FROM_BYTES:
            message = gzip.compress(message, 1)
            headers = {**headers, "Content-Encoding": "gzip"}
        for fresh in (False, True):
            left_s = TIMEOUT_S if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0.0:
                return "failed"
            kept = self._connection is not None and not fresh
            try:
                status = self._post(message, headers, min(left_s, TIMEOUT_S))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                # A connection that the collector closed while it was idle is no failure.
                if kept and not isinstance(error, TimeoutError):
                    continue
                return "failed"
            if status in _TRY_AGAIN:
                return "failed"
            return "sent" if 200 <= status < 300 else "refused"
        return "failed"

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, message: bytes, headers: dict[str, str], timeout_s: float) -> int:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect(timeout_s)
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._path, message, headers)
        answer = connection.getresponse()
        answer.read(MAX_ANSWER_BYTES)
        if not answer.isclosed():
            self.close()
        return answer.status

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._is_tls:
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
