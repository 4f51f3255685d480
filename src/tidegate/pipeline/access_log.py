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

_FLUSH_S = 0.1
_MAX_PENDING_LINES = 20_000
_MAX_QUOTED = 10_000
#: PIPE_BUF on Linux: a poll for writing promises that this much fits, and lines of several
#: processes are never mixed within it.
_ATOMIC_BYTES = 4096


class AccessLog:
    """Collects lines and writes them to a descriptor.

    Args:
        loop: Its timer flushes the batch.
        descriptor: Open for writing; None keeps no log.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int | None) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._quoted: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._second_text = ""
        self.dropped = 0

    def use(self, descriptor: int | None) -> None:
        """Write to *descriptor* from now on; None keeps no log."""
        self.flush()
        self._descriptor = descriptor

    def note(self, call: Call, status: int, duration_s: float) -> None:
        """Add the line of a settled call."""
        if self._descriptor is None or not call.endpoint.counted:
            return
        if len(self._lines) >= _MAX_PENDING_LINES:
            self.dropped += 1
            return
        principal, target, usage, ttft_s = call.principal, call.target, call.usage, call.ttft_s
        decision = call.decision
        line = (
            f'{{"ts":"{self._timestamp()}","level":"info","event":"request",'
            f'"request_id":"{call.request_id}","endpoint":"{call.endpoint.name}",'
            f'"status":{status},"outcome":"{call.outcome}","duration_ms":{duration_s * 1e3:.3f},'
            f'"generation":{call.state.snapshot.generation},"client_ip":"{call.exchange.client_ip}"'
        )
        if principal is not None:
            line += f',"key":{self._quote(principal.name)}'
            if principal.team is not None:
                line += f',"team":{self._quote(principal.team)}'
        if call.model is not None:
            line += f',"model":{self._quote(call.model)}'
        if target is not None:
            line += (
                f',"provider":{self._quote(target.provider)},'
                f'"target_model":{self._quote(target.label)},'
                f'"stream":{"true" if call.stream else "false"},"attempts":{call.attempts},'
                f'"upstream_ms":{call.upstream_s * 1e3:.3f}'
            )
        if ttft_s is not None:
            line += f',"ttft_ms":{ttft_s * 1e3:.3f}'
        if usage is not None:
            line += f',"input_tokens":{usage.input_tokens},"output_tokens":{usage.output_tokens}'
        if decision is not None and decision.refused_by is not None:
            line += f',"limit":{self._quote(decision.refused_by.name)}'
        self._lines.append(line + "}")
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
        for text in lines:
            line = text.encode()
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

    def _quote(self, name: str) -> str:
        """Return a configured name as JSON; there are few, so each is encoded once."""
        quoted = self._quoted.get(name)
        if quoted is None:
            if len(self._quoted) > _MAX_QUOTED:
                self._quoted.clear()
            quoted = self._quoted[name] = msgspec.json.encode(name).decode()
        return quoted

    def _timestamp(self) -> str:
        now_ns = time.time_ns()
        second, rest_ns = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{rest_ns // 1_000_000:03d}Z"
