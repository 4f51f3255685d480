"""What holds of a target's whole answer in any dialect, checked where it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from tidegate.dialects.neutral import NeutralAnswer, ToolUse
from tidegate.dialects.unreadable import UNREADABLE, check_text
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import UnreadableAnswer

W = TypeVar("W", bound=msgspec.Struct)

_LATEST_S = 1 << 40


def read_answer(body: bytes, decode: Callable[[bytes], NeutralAnswer]) -> NeutralAnswer:
    """Read a whole answer by its dialect's *decode*; raises `UnreadableAnswer`.

    All of it is text, as pieces may be passed on as they are; and no caller could run a call
    without a name.
    """
    try:
        check_text(body)
    except UnicodeDecodeError:
        raise UnreadableAnswer("The provider's answer is not valid UTF-8.") from None
    answer = decode(body)
    for choice in answer.choices:
        for part in choice.parts:
            if isinstance(part, ToolUse) and not part.name:
                raise UnreadableAnswer("The provider's answer holds a tool call without a name.")
    return answer


def unix_time(told: float | None) -> int:
    """Return the time an answer was made, in seconds; 0 for none and for what can be no time."""
    return int(told) if told is not None and 0 < told < _LATEST_S else 0


def usage_reader(
    shape: type[W], neutral: Callable[[W], Usage | None]
) -> Callable[[msgspec.Raw], Usage | None]:
    """Return what reads a usage object; one that is none of the dialect's counts as none."""
    decode = msgspec.json.Decoder(shape | None).decode

    def read_usage(raw: msgspec.Raw) -> Usage | None:
        try:
            wire = decode(raw)
        except UNREADABLE:
            return None
        return None if wire is None else neutral(wire)

    return read_usage
