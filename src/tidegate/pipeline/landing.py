"""The end of plain requests: what was answered in a turn of the loop, counted together."""

from __future__ import annotations

import logging
from time import monotonic, time_ns
from typing import TYPE_CHECKING, cast

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
    from tidegate.pipeline.access_log import PlainCall
    from tidegate.pipeline.lane import Lane

log = logging.getLogger("tidegate.pipeline")

Landed = tuple[Flight, bytes, Usage, bytes]
"""`(flight, body for the client, usage, header lines of ours)`."""

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
        arrived_s = monotonic()
        # Somebody wants to know more of each request than a lane counts.
        is_watched = gateway.access_log.tap is not None or gateway.meters.identities is not None
        plain: list[Landed] = []
        rest: list[Flight] = []
        for flight in answered:
            if flight.has_task:
                continue
            read = self._read(flight)
            if read is None:
                rest.append(flight)
            elif read[2] is None or is_watched:
                ended.append(self._end_watched(*read, arrived_s, settles))
            else:
                plain.append(cast("Landed", read))
        if plain:
            self._end_plain(plain, arrived_s, ended, settles)
        return rest

    def _read(self, flight: Flight) -> tuple[Flight, bytes, Usage | None, bytes] | None:
        """Return what the client will get, its usage, and a line on what was lost.

        None for what a task has to look at: a fault that it will meet again, and answer.
        """
        reply = flight.reply
        whole, status = reply.whole, reply.status
        if whole is None or (status != 200 and status != 201):
            return None
        translation = flight.translation
        try:
            if translation is None:
                return flight, whole, flight.lane.usage_of(whole), b""
            return flight, *understand(self._gateway, flight.call, whole, translation)
        except GatewayError:
            return None
        except Exception:
            log.exception("the short way failed")
            return None

    def _end_plain(
        self, landed: list[Landed], arrived_s: float, ended: list[Ended], settles: list[bytes]
    ) -> None:
        """Count, log and settle requests, by no more than numbers."""
        access_log, counting = self._gateway.access_log, self._counting
        now_ms = time_ns() // 1_000_000
        calls: list[PlainCall] = []
        for flight, whole, usage, note in landed:
            lane, exchange, reply = flight.lane, flight.exchange, flight.reply
            name, status, headers = flight.request_id, reply.status, reply.headers
            decision, size = flight.decision, len(whole)
            tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
            cached, written, reasoning = (
                usage.cached_input_tokens,
                usage.cache_write_tokens,
                usage.reasoning_tokens,
            )
            price = lane.target.price
            cost_nano_usd = None if price is None else price.cost_nano_usd(usage)
            now_s = monotonic()
            duration_s = now_s - exchange.started_at
            upstream_s = arrived_s - flight.sent_at or 1e-9
            lane.ended.append(
                (tokens_in, tokens_out, cost_nano_usd, duration_s, upstream_s, status)
            )
            lane.latest = (usage, len(flight.body), size)
            if cached or written or reasoning:
                lane.count_parts(usage)
            counting.add(lane)
            if flight.recorded:
                settles.append(
                    settle_frame(
                        name + FIRST_ATTEMPT, now_ms, "ok", status, tokens_in, cached, written,
                        tokens_out, reasoning, "provider", cost_nano_usd, None,
                        now_ms - flight.opened_ms, size,
                    )
                )  # fmt: skip
            calls.append(
                (name, exchange.client_ip, status, tokens_in, tokens_out, duration_s, upstream_s,
                 lane.log_rest)
            )  # fmt: skip
            limits = b""
            if decision is not None:
                if decision.holds:
                    # Before the last byte: the client's next request must find its place free.
                    decision.release()
                if decision.states:
                    limits = lane.limit_headers(decision.states)
            if now_s >= lane.look_s:
                lane.look_closer(flight.call, headers, duration_s, now_s)
            rest = answer_lines(headers, lane.target, note)
            lines = b"".join((b"x-request-id: ", name.encode(), b"\r\n", limits, rest))
            ended.append((exchange, status, lines, whole))
        access_log.note_plain(access_log.stamp(), calls)

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
