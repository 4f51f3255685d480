"""Slots outlive thousands of workers (the long form: `make torture ARGS=respawns`)."""

from __future__ import annotations

import respawns


def test_lives_of_workers_leave_nothing_behind_but_their_counts() -> None:
    """After 400 kills memory, page size and scrape time are what they were after 40."""
    found = respawns.run(400)
    assert found.counted == found.lives
    assert found.segment_bytes[0] == found.segment_bytes[1]
    assert found.page_bytes[1] - found.page_bytes[0] < 1_000  # longer numbers, no new series
    assert found.memory_kib[1] - found.memory_kib[0] < 1_024
    assert found.page_s[1] < found.page_s[0] * 2 + 0.005
