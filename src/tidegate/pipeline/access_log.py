"""One JSON line a request, written in batches.

    {"ts":"2026-11-24T18:20:21.123Z","level":"info","event":"request","request_id":"req_…",
     "endpoint":"chat_completions","status":200,"outcome":"ok","key":"ci","model":"fast",…}

No prompt, no answer, no header, no key secret. Encoding costs 1 µs a line and one write
serves all lines of 0.1 s; a kill -9 may lose those last lines, never a count.
"""

from __future__ import annotations

import asyncio
import os
import select
import time

import msgspec

from tidegate.pipeline.call import Call

_encode = msgspec.json.Encoder().encode
_FLUSH_S = 0.1
_MAX_PENDING_LINES = 20_000
#: PIPE_BUF on Linux: a poll for writing promises that this much fits, and lines of several
#: processes are never mixed within it.
_ATOMIC_BYTES = 4096


class _Line(msgspec.Struct, omit_defaults=True):
    ts: str
    level: str
    event: str
    request_id: str
    endpoint: str
    status: int
    outcome: str
    duration_ms: float
    client_ip: str
    key: str | None = None
    team: str | None = None
    model: str | None = None
    provider: str | None = None
    target_model: str | None = None
    stream: bool = False
    attempts: int = 0
    upstream_ms: float = 0.0
    ttft_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    limit: str | None = None


class AccessLog:
    """Collects lines and writes them to a descriptor.

    Args:
        loop: Its timer flushes the batch.
        descriptor: Open for writing; None keeps no log.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int | None) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._second_text = ""
        self.dropped = 0

    def note(self, call: Call, status: int, duration_s: float) -> None:
        """Add the line of a settled call."""
        if self._descriptor is None or not call.endpoint.counted:
            return
        if len(self._lines) >= _MAX_PENDING_LINES:
            self.dropped += 1
            return
        principal, target, usage = call.principal, call.target, call.usage
        decision = call.decision
        refused_by = None if decision is None else decision.refused_by
        self._lines.append(
            _encode(
                _Line(
                    self._timestamp(),
                    "info",
                    "request",
                    call.request_id,
                    call.endpoint.name,
                    status,
                    call.outcome,
                    round(duration_s * 1000, 3),
                    call.exchange.client_ip,
                    None if principal is None else principal.name,
                    None if principal is None else principal.team,
                    call.model,
                    None if target is None else target.provider,
                    None if target is None else target.label,
                    call.stream,
                    call.attempts,
                    round(call.upstream_s * 1000, 3),
                    None if call.ttft_s is None else round(call.ttft_s * 1000, 3),
                    None if usage is None else usage.input_tokens,
                    None if usage is None else usage.output_tokens,
                    None if refused_by is None else refused_by.name,
                )
            )
        )
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has collected. A reader that does not read costs lines, never a stall."""
        self._timer = None
        if not self._lines or self._descriptor is None:
            return
        lines, self._lines = self._lines, []
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if size + len(line) >= _ATOMIC_BYTES and batch:
                self._write(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line) + 1
        self._write(batch)

    def _write(self, lines: list[bytes]) -> None:
        """Write one batch, or drop it: a pipe that is full would stop the whole loop."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        try:
            events = poll.poll(0)
            if events and events[0][1] & select.POLLOUT:
                os.write(descriptor, b"\n".join(lines) + b"\n")
                return
        except OSError:
            pass
        self.dropped += len(lines)

    def _timestamp(self) -> str:
        now_ns = time.time_ns()
        second, rest_ns = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{rest_ns // 1_000_000:03d}Z"
