"""What Python's `logging` is told (by the pipeline, by asyncio) as a process's JSON lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tidegate.control.eventlog import EventLog
from tidegate.logs.uncaught import describe, report_uncaught

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
        super().__init__(logging.DEBUG)
        self._log = log

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises into the code that logs."""
        try:
            message = record.getMessage()
            # `extra={"fields": {...}}`: what a reader of the log filters by.
            fields = {"logger": record.name, **getattr(record, "fields", {})}
            write = self._log.debug if record.levelno < logging.INFO else self._log.info
            if record.levelno >= logging.ERROR:
                write = self._log.error
            elif record.levelno >= logging.WARNING:
                write = self._log.warning
            if record.exc_info and record.exc_info[1] is not None:
                write(message, **{**fields, **describe(record.exc_info[1], text=False)})
            else:
                write(message, **fields)
        except Exception as error:  # noqa: BLE001 (see the docstring)
            # `handleError` would print the record, arguments and all.
            self._log.error("a record could not be written", error=type(error).__name__)


def install(log: EventLog) -> None:
    """Send all of this process's records to *log*, and none anywhere else."""
    root = logging.getLogger()
    root.handlers = [EventLogHandler(log)]
    # Libraries tell their debug lines to whoever asks: ours alone are wanted.
    root.setLevel(logging.INFO)
    logging.getLogger("tidegate").setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    report_uncaught(lambda event, fields: log.error(event, **fields))
