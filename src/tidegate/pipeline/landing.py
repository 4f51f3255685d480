"""The end of plain requests: what was answered in a turn of the loop, counted together."""

from __future__ import annotations

import logging
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from tidegate.dialects.usage import Usage
from tidegate.errors import GatewayError
from tidegate.ids import FIRST_ATTEMPT
from tidegate.ledger.frames import settle_frame
from tidegate.pipeline.attempt import answer_lines, understand, usage_line
from tidegate.pipeline.flight import Flight
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import settle

if TYPE_CHECKING:
    from tidegate.edge.exchange import FreeExchange
    from tidegate.pipeline.lane import Lane

log = logging.getLogger("tidegate.pipeline")

Ended = tuple["FreeExchange", int, bytes, bytes]
"""`(exchange, status, header lines, body)` of an answer that may leave."""


class Landing:
    """Ends plain requests.

    Args:
        gateway: Services.
        counting: Gets the lanes whose counts have to be written.
    """

    def __init__(self, gateway: Gateway, counting: set[Lane]) -> None:
        self._gateway = gateway
        self._counting = counting

    def land(
        self, answered: list[Flight], ended: list[Ended], settles: list[bytes]
    ) -> list[Flight]:
        """Count, log and settle what was answered well and whole; return the rest.

        Args:
            answered: Flights that were told of a head, or of a fault.
            ended: Gets what may leave, once `settles` are written.
            settles: Gets the ledger's records of the ends.
        """
        gateway = self._gateway
        rest: list[Flight] = []
        arrived_s = monotonic()
        # Somebody wants to know more of each request than a lane counts.
        stamp = gateway.access_log.stamp()
        is_watched = gateway.access_log.tap is not None or gateway.meters.identities is not None
        for flight in answered:
            if flight.has_task:
                continue
            try:
                read = self._read(flight)
            except GatewayError:
                read = None  # is raised again by the task, which answers it
            except Exception:
                log.exception("the short way failed")
                read = None
            if read is None:
                rest.append(flight)
                continue
            whole, usage, note = read
            if usage is None or is_watched:
                end = self._end_watched(flight, whole, usage, note, arrived_s, settles)
            else:
                end = self._end_plain(flight, whole, usage, note, arrived_s, stamp, settles)
            ended.append(end)
        gateway.meters.in_flight.dec(len(ended))
        return rest

    def _read(self, flight: Flight) -> tuple[bytes, Usage | None, bytes] | None:
        """Return what the client will get, its usage, and a line on what was lost."""
        reply = flight.reply
        whole = reply.whole
        if whole is None or (reply.status != 200 and reply.status != 201):
            return None
        translation = flight.translation
        if translation is None:
            return whole, flight.lane.usage_of(whole), b""
        return understand(self._gateway, flight.call, whole, translation)

    def _end_plain(
        self,
        flight: Flight,
        whole: bytes,
        usage: Usage,
        note: bytes,
        arrived_s: float,
        stamp: str,
        settles: list[bytes],
    ) -> Ended:
        """Count, log and settle a request, by no more than numbers."""
        gateway, lane, exchange, reply = self._gateway, flight.lane, flight.exchange, flight.reply
        target, decision = lane.target, flight.decision
        status, headers = reply.status, reply.headers
        size = len(whole)
        price = target.price
        cost_nano_usd = None if price is None else price.cost_nano_usd(usage)
        now_s = monotonic()
        duration_s = now_s - exchange.started_at
        upstream_s = arrived_s - flight.sent_at
        lane.end(usage, cost_nano_usd, duration_s, upstream_s, status, len(flight.body), size)
        self._counting.add(lane)
        if flight.recorded:
            settles.append(_settle_frame(flight, usage, status, cost_nano_usd, size))
        gateway.access_log.note_plain(
            stamp,
            flight.request_id,
            exchange.client_ip,
            status,
            usage,
            duration_s,
            upstream_s,
            lane.log_rest,
        )
        lines = b"x-request-id: %b\r\n" % flight.request_id.encode()
        if decision is not None:
            if decision.holds:
                # Before the last byte: the client's next request must find its place free.
                decision.release()
            if decision.states:
                lines += lane.limit_headers(decision.states)
        if now_s >= lane.look_s:
            lane.look_closer(flight.call, headers, duration_s, now_s)
        return exchange, status, lines + answer_lines(headers, target, note), whole

    def _end_watched(
        self,
        flight: Flight,
        whole: bytes,
        usage: Usage | None,
        note: bytes,
        arrived_s: float,
        settles: list[bytes],
    ) -> Ended:
        """Count, log and settle a request as the long way does."""
        call, record, reply = flight.record.call, flight.record, flight.reply
        status = reply.status
        call.upstream_s = arrived_s - flight.sent_at
        call.delivered_bytes = len(whole)
        frame = record.end("ok", status, usage)
        if frame:
            settles.append(frame)
        call.status = status
        lines = call.base_headers()
        if call.usage_source != "provider":
            note += usage_line(call)
        settle(self._gateway, call, status)
        return (
            flight.exchange,
            status,
            lines + answer_lines(reply.headers, record.target, note),
            whole,
        )


def _settle_frame(
    flight: Flight, usage: Usage, status: int, cost_nano_usd: int | None, size: int
) -> bytes:
    now_ms = time_ns() // 1_000_000
    return settle_frame(
        flight.request_id + FIRST_ATTEMPT,
        now_ms,
        "ok",
        status,
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        "provider",
        cost_nano_usd,
        None,
        now_ms - flight.opened_ms,
        size,
    )
