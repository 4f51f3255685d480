"""Exceptions that nobody caught, as events in place of Python's own traceback.

Python writes the exception's text, which may quote what a client or a provider sent. Of an
exception its type, its text through `redact`, and the places it passed are told.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType

from tidegate.logs.redact import redact

MAX_TEXT_CHARACTERS = 300

Report = Callable[[str, dict[str, str | list[str]]], None]


def describe(error: BaseException, *, text: bool = True) -> dict[str, str | list[str]]:
    """Return the fields of an event about *error*: `error`, `reason` with *text*, `where`."""
    frames = traceback.extract_tb(error.__traceback__)
    fields: dict[str, str | list[str]] = {
        "error": type(error).__name__,
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if text:
        # Masked before it is cut: half a secret has no shape.
        fields["reason"] = redact(str(error))[:MAX_TEXT_CHARACTERS]
    return fields


def report_uncaught(report: Report) -> None:
    """Hand every exception that nothing catches in this process to *report*."""

    def from_main(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        report("an exception ended the process", describe(error.with_traceback(trace)))

    def from_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            report("an exception ended a thread", describe(arguments.exc_value))

    def unraisable(arguments: sys.UnraisableHookArgs) -> None:
        if arguments.exc_value is not None:
            report("an exception had nowhere to go", describe(arguments.exc_value))

    sys.excepthook = from_main
    threading.excepthook = from_thread
    sys.unraisablehook = unraisable
