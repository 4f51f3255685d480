"""A connection whose requests all look alike: each is taken, and answered, in one step.

Most clients send the same head with every request, whole with its body, and read what they are
answered. `Connection` says of which it is so (`known`); for those everything it would do step by
step is done here in a third of the time, and for all others it does it.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

from tidegate.edge.connection import ANSWERING, HEAD, Connection
from tidegate.edge.http_exchange import JOIN_BELOW_BYTES, HttpExchange
from tidegate.edge.responses import BODY_LINES

if TYPE_CHECKING:
    from typing_extensions import override

    from tidegate.edge.head_cache import KnownHead
else:

    def override(method):  # noqa: ANN001, ANN201, D103 (a worker does without the package)
        return method


class OrdinaryConnection(Connection):
    """A `Connection` with short ways for what is ordinary."""

    __slots__ = ()

    @override
    def data_received(self, data: bytes) -> None:
        """Take a request with the head of the one before, if *data* is that and nothing else."""
        known = self.known
        if known is None or self.state != HEAD or self._buffer:
            super().data_received(data)
            return
        mark = known.mark
        stop = data.find(b"\r", mark, mark + 19)  # as many digits as any length may have
        digits = data[mark:stop]
        start = stop + known.back_bytes
        if (
            data.startswith(known.front)
            and data.startswith(known.back, stop)
            and digits.isdigit()
            and len(data) - start == int(digits) <= self.server.caps.max_body_bytes
        ):
            self._exchange = exchange = HttpExchange(
                known.method, known.path, known.query, known.headers, known.http_1_0,
                known.keep_alive, len(data) - start, False,
                connection=self, started_at=monotonic(), client_ip=self.client_ip,
                memo=known.memo, body=data[start:],
            )  # fmt: skip
            self.state = ANSWERING
            self.deadline = math.inf
            self.server.exchange_started(exchange)
        else:
            super().data_received(data)

    @override
    def _is_ordinary(self, known: KnownHead) -> bool:
        return (
            known.has_length
            and known.keep_alive
            and not known.http_1_0
            and known.method != b"HEAD"
            and not self._peer_trusted
            and not self._is_reading_paused
            and not self.is_write_paused
            and not self._input_lost
            and self._eof_at is None
            and not self.server.is_draining
        )

    @override
    def send_whole(self, status: int, headers: bytes, body: bytes) -> bool:
        """Send a whole answer and wait for the next request, if nothing else is to be done."""
        lines = BODY_LINES.get(status)
        if (
            self.known is None
            or self.state != ANSWERING
            or lines is None
            or self._buffer
            or len(body) >= JOIN_BELOW_BYTES
        ):
            return False
        exchange, self._exchange = self._exchange, None
        server, now = self.server, self.loop.time()
        date = server.date
        date_line = date.line if now < date.until else date.renew(now)
        length_line = b"content-length: %d\r\n\r\n" % len(body)
        # Joined, not formatted: a third of the time.
        self.transport.write(b"".join((lines, date_line, headers, length_line, body)))
        if self.known is None and exchange is not None:
            self.exchange_ended(exchange)  # the client is slow
        else:
            self.state = HEAD
            self.deadline = now + server.caps.keep_alive_s
        return True
