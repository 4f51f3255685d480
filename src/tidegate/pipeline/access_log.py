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
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from tidegate.pipeline.call import Call

if TYPE_CHECKING:
    from tidegate.routing.target import Target

_FLUSH_S = 0.1
_MAX_PENDING_LINES = 20_000
_MAX_QUOTED = 10_000
_MAX_RESTS = 1_000
#: PIPE_BUF on Linux: a poll for writing promises that this much fits, and lines of several
#: processes are never mixed within it.
_ATOMIC_BYTES = 4096


def _is_file(descriptor: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


PlainCall = tuple[str, str, int, int, int, float, float, str]
"""A call that was answered well, in one attempt and whole: its request id, its client's address,
its status, input and output tokens, seconds from its first byte to its answer and those of them
spent waiting for the provider, and the end of its line (from `rest_of`)."""


class Tap(Protocol):
    """Hears of calls while somebody looks at them."""

    def attempt(
        self,
        call: Call,
        target: Target,
        outcome: str,
        status: int,
        duration_s: float,
        cost_nano_usd: int | None,
    ) -> None:
        """An attempt of *call* has ended."""

    def note(self, call: Call, status: int, duration_s: float) -> None:
        """*call* is settled."""


class AccessLog:
    """Collects lines and writes them to a descriptor.

    Args:
        loop: Its timer flushes the batch.
        descriptor: Open for writing; None keeps no log.

    Attributes:
        tap: Hears of each call, whether a log is kept or not; None for nobody.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int | None) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._quoted: dict[str, str] = {}
        self._rests: dict[tuple[object, ...], str] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Whether the file ends in half a line.
        self._is_torn = False
        self._now_ms = -1
        self._now_text = ""
        self._second = -1
        self._second_text = ""
        self.tap: Tap | None = None
        self.dropped = 0

    def use(self, descriptor: int | None) -> None:
        """Write to *descriptor* from now on; None keeps no log."""
        self.flush()
        self._descriptor = descriptor
        self._is_torn = False

    def note(self, call: Call, status: int, duration_s: float) -> None:
        """Add the line of a settled call."""
        if self.tap is not None and call.endpoint.counted:
            self.tap.note(call, status, duration_s)
        if self._descriptor is None or not call.endpoint.counted:
            return
        if len(self._lines) >= _MAX_PENDING_LINES:
            self.dropped += 1
            return
        target, usage, decision = call.target, call.usage, call.decision
        line = (
            f'{{"ts":"{self.stamp()}","level":"info","event":"request",'
            f'"request_id":"{call.request_id}","status":{status},"outcome":"{call.outcome}",'
            f'"duration_ms":{duration_s * 1e3:.3f},"client_ip":"{call.exchange.client_ip}"'
        )
        if call.trace_id is not None:
            line += f',"trace_id":"{call.trace_id}"'
        if target is not None:
            line += f',"attempts":{call.attempts},"upstream_ms":{call.upstream_s * 1e3:.3f}'
        if call.ttft_s is not None:
            line += f',"ttft_ms":{call.ttft_s * 1e3:.3f}'
        if usage is not None:
            line += f',"input_tokens":{usage.input_tokens},"output_tokens":{usage.output_tokens}'
            if usage.audio_s:
                line += f',"audio_s":{usage.audio_s:.3f}'
        if call.usage_source != "provider" and target is not None:
            line += f',"usage_source":"{call.usage_source}"'
        if decision is not None and decision.refused_by is not None:
            line += f',"limit":{self._quote(decision.refused_by.name)}'
        self._add(line + self.rest_of(call))

    def note_plain(self, stamp: str, calls: Sequence[PlainCall]) -> None:
        """Add the lines of *calls*, at the time *stamp* (from `stamp`)."""
        if self._descriptor is None:
            return
        room = _MAX_PENDING_LINES - len(self._lines)
        if len(calls) > room:
            self.dropped += len(calls) - room
            calls = calls[:room]
        self._lines += [
            f'{{"ts":"{stamp}","level":"info","event":"request",'
            f'"request_id":"{call_id}","status":{status},"outcome":"ok",'
            f'"duration_ms":{duration_s * 1e3:.3f},"client_ip":"{client_ip}",'
            f'"attempts":1,"upstream_ms":{upstream_s * 1e3:.3f},'
            f'"input_tokens":{input_tokens},"output_tokens":{output_tokens}{rest}'
            for (
                call_id,
                client_ip,
                status,
                input_tokens,
                output_tokens,
                duration_s,
                upstream_s,
                rest,
            ) in calls
        ]
        if self._timer is None and self._lines:
            self._timer = self._loop.call_later(_FLUSH_S, self.flush)

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self.flush)

    def rest_of(self, call: Call) -> str:
        """Return the end of a line, which calls of the same key at the same target share."""
        who_and_what = (
            call.state,
            call.endpoint.name,
            call.principal,
            call.model,
            call.target,
            call.stream,
        )
        rest = self._rests.get(who_and_what)
        return self._remember(call, who_and_what) if rest is None else rest

    def _remember(self, call: Call, who_and_what: tuple[object, ...]) -> str:
        principal, target = call.principal, call.target
        rest = (
            f',"endpoint":"{call.endpoint.name}","generation":{call.state.snapshot.generation},'
            f'"stream":{"true" if call.stream else "false"}'
        )
        if principal is not None:
            rest += f',"key":{self._quote(principal.name)}'
            if principal.team is not None:
                rest += f',"team":{self._quote(principal.team)}'
        if call.model is not None:
            rest += f',"model":{self._quote(call.model)}'
        if target is not None:
            rest += (
                f',"provider":{self._quote(target.provider)},'
                f'"target_model":{self._quote(target.label)}'
            )
        if len(self._rests) >= _MAX_RESTS:
            self._rests.clear()
        rest = self._rests[who_and_what] = rest + "}\n"
        return rest

    def flush(self) -> None:
        """Write what has collected. A reader that does not read costs lines, never a stall."""
        self._timer = None
        descriptor = self._descriptor
        if not self._lines or descriptor is None:
            return
        lines, self._lines = self._lines, []
        if _is_file(descriptor):
            self._write_file(descriptor, "".join(lines).encode())
            return
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        start = size = 0
        for position, line in enumerate(lines):
            length = len(line) if line.isascii() else len(line.encode())
            if size + length > _ATOMIC_BYTES and position > start:
                self._write(poll, lines[start:position])
                start, size = position, 0
            size += length
        self._write(poll, lines[start:])

    def _write_file(self, descriptor: int, lines: bytes) -> None:
        """Write to a file, which never makes a writer wait for a reader; it may be full."""
        begin = b"\n" if self._is_torn else b""
        written = 0
        with suppress(OSError):
            written = os.write(descriptor, begin + lines)
        written -= len(begin)
        if written > 0:
            self._is_torn = not lines.endswith(b"\n", 0, written)
        elif written == 0:
            self._is_torn = False
        if written < len(lines):
            self.dropped += lines.count(b"\n", max(0, written))

    def _write(self, poll: select.poll, lines: list[str]) -> None:
        """Write one batch, or drop it: a pipe that is full would stop the whole loop."""
        try:
            events = poll.poll(0)
            if events and events[0][1] & select.POLLOUT:
                os.write(events[0][0], "".join(lines).encode())
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

    def stamp(self) -> str:
        """Return the time of now, as it stands in a line."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            second, rest_ms = divmod(now_ms, 1_000)
            if second != self._second:
                self._second = second
                self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._now_text = f"{self._second_text}.{rest_ms:03d}Z"
        return self._now_text
