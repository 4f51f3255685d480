"""What Python's `logging` is told (by the pipeline, by asyncio) as the worker's JSON lines."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from tidegate.control.eventlog import EventLog

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override


class EventLogHandler(logging.Handler):
    """Hands records to an `EventLog`.

    Of an exception, its type and the places it passed are written, never its text: that may
    quote what a client or a provider sent.
    """

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.INFO)
        self._log = log

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises into the code that logs."""
        try:
            message = record.getMessage()
            # `extra={"fields": {...}}`: what a reader of the log filters by.
            fields = {"logger": record.name, **getattr(record, "fields", {})}
            write = self._log.info
            if record.levelno >= logging.ERROR:
                write = self._log.error
            elif record.levelno >= logging.WARNING:
                write = self._log.warning
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                frames = traceback.extract_tb(error.__traceback__)
                where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
                write(message, **fields, error=type(error).__name__, where=where)
            else:
                write(message, **fields)
        except Exception:  # noqa: BLE001 (see the docstring)
            self.handleError(record)


def install(log: EventLog) -> None:
    """Send all of this process's records to *log*, and none anywhere else."""
    root = logging.getLogger()
    root.handlers = [EventLogHandler(log)]
    root.setLevel(logging.INFO)
