"""The table of all limited subjects, in memory that the workers of a host share.

An entry is two words: a 64-bit keyed digest of limit and subject, and the TAT in ns of
CLOCK_BOOTTIME. An entry whose TAT has passed is a full bucket, which is the same as no entry:
it is free, and nothing is ever deleted. A subject may stand in either of two buckets of
eight, and is put into the emptier one (at 70 % live, 0.08 % find no room; at 50 %, none).

Every store is one aligned word. A new entry first loses its old digest, then gets its TAT, then
its own digest: a kill in between leaves an entry that is nobody's until its TAT has passed, never
one subject's TAT under another's name. All of it happens under one lock, held for about 2 µs.
"""

from __future__ import annotations

BUCKET = 8
_WORDS = 2

#: Share of entries in use from which an operator should hear of it: at 70 % the first find no room.
LIVE_ALARM = 0.6


class LimitTable:
    """One process's view of the table. Use only while holding its lock.

    Args:
        words: int64 view, two words an entry; its number of buckets is a power of two.

    Attributes:
        entries: How many subjects fit.
        refused: How often a subject found no room (this process).
    """

    __slots__ = ("_mask", "_words", "entries", "refused")

    def __init__(self, words: memoryview) -> None:
        self.entries = len(words) // _WORDS
        buckets = self.entries // BUCKET
        if buckets < 2 or buckets & (buckets - 1):
            raise ValueError(f"the table needs a power of two of buckets, not {buckets}")
        self._words = words
        self._mask = buckets - 1
        self.refused = 0

    def find(self, digest: int) -> int:
        """Return the word index of *digest*'s entry, or -1. *digest* is a non-zero int64."""
        words = self._words
        for first in self._buckets(digest):
            for place in range(first, first + BUCKET * _WORDS, _WORDS):
                if words[place] == digest:
                    return place
        return -1

    def add(self, digest: int, tat_ns: int, now_ns: int) -> int:
        """Store a TAT for a *digest* without an entry; return its place, -1 if there is no room."""
        place = self._free_place(digest, now_ns)
        if place < 0:
            self.refused += 1
            return -1
        words = self._words
        words[place] = 0
        words[place + 1] = tat_ns
        words[place] = digest
        return place

    def has_room(self, digest: int, now_ns: int) -> bool:
        """Whether a subject without an entry would get one."""
        return self._free_place(digest, now_ns) >= 0

    def live_fraction(self, now_ns: int) -> float:
        """Return the share of entries in use (about 20 ms for 2^18: not for the hot path)."""
        tats = self._words[1::_WORDS].tolist()
        return sum(1 for tat in tats if tat > now_ns) / self.entries

    def _buckets(self, digest: int) -> tuple[int, int]:
        mask = self._mask
        stride = BUCKET * _WORDS
        return (digest & mask) * stride, ((digest >> 32) & mask) * stride

    def _free_place(self, digest: int, now_ns: int) -> int:
        """Return a free entry in the emptier of the two buckets, or -1."""
        words = self._words
        best, best_free = -1, 0
        for first in self._buckets(digest):
            free = [
                place
                for place in range(first, first + BUCKET * _WORDS, _WORDS)
                if words[place + 1] <= now_ns
            ]
            if len(free) > best_free:
                best, best_free = free[0], len(free)
        return best
