"""Whether somebody looks at recent requests: one word of the shared memory."""

from __future__ import annotations

import time

from tidegate.memory import InstanceWord, Segment


def is_watched(segment: Segment) -> bool:
    """Whether workers should collect their requests."""
    return segment.words[InstanceWord.WATCHED_UNTIL_NS] > time.monotonic_ns()
