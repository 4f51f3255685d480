"""Lifecycle events on standard error: one JSON object a line, or plain text on a terminal.

For starts, deaths, reloads, drains. Nothing here is on the way of a request. No field ever
holds a secret, and each line goes through `logs.redact` all the same. `logging` is not used:
importing it costs each worker 12 ms and its locks are not needed, as one `write` a line is whole
between processes.
"""

from __future__ import annotations

import os
import select
import time
from typing import ClassVar, Final

import msgspec

from tidegate.logs.redact import redact

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

Field = str | int | float | bool | None | list[str]


class EventLog:
    """Writes events of one process.

    Args:
        process: `supervisor`, `control`, `worker-2`.
        stream_fd: Descriptor written to; 2 is standard error.
        level: Least level that is written.
        human: Plain text in place of JSON; by default when the descriptor is a terminal.

    Attributes:
        dropped_lines: Lines that no log of this process had room for.
    """

    dropped_lines: ClassVar[int] = 0

    def __init__(
        self, process: str, *, stream_fd: int = 2, level: str = "info", human: bool | None = None
    ) -> None:
        self.process = process
        self._fd = stream_fd
        self._room = select.poll()
        self._room.register(stream_fd, select.POLLOUT)
        self._least = _LEVELS.get(level, 20)
        self._human = _is_terminal(stream_fd) if human is None else human

    def set_level(self, level: str) -> None:
        """Write only events of *level* and above from now on; unknown ones mean `info`."""
        self._least = _LEVELS.get(level, 20)

    def debug(self, event: str, **fields: Field) -> None:
        """Write an event that only a developer wants."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Field) -> None:
        """Write an event of normal life."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        """Write an event that somebody should look at some day."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Field) -> None:
        """Write an event that somebody should look at now."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Field]) -> None:
        if _LEVELS[level] < self._least:
            return
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp = f"{moment}.{int(now % 1 * 1000):03d}Z"
        if self._human:
            tail = "".join(f" {name}={_plain(value)}" for name, value in fields.items())
            text = redact(f"{stamp[11:23]} {level:<7} {self.process}: {event}{tail}")
            line = _one_line(text).encode("utf-8", "backslashreplace") + b"\n"
        else:
            record = {"ts": stamp, "level": level, "event": event, "process": self.process}
            line = redact(msgspec.json.encode(record | fields).decode()).encode() + b"\n"
        try:
            # A reader that stands still must not stop us: an event that has no room is lost.
            if self._room.poll(0):
                os.write(self._fd, line)
                return
        except OSError:
            pass  # nobody reads standard error any more
        EventLog.dropped_lines += 1


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _one_line(text: str) -> str:
    """Return *text* without what would move a terminal's cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _plain(value: Field) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(value) + "]"
    if isinstance(value, str) and " " in value:
        return f'"{value}"'
    return str(value)
