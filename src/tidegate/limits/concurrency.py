"""How many requests of a subject run at once, counted so that holds die with their worker.

Each slot of the shared memory has entries of `(digest, count)` of its own, written only by the
slot's owner. A subject's count is the sum over all slots. When a worker is gone, the supervisor
zeroes its slot's entries: what it held is free again.

Entries stand in buckets of eight, and the same bucket of all slots lies side by side::

    bucket 0: [slot 0: 8 entries][slot 1: 8 entries] …   bucket 1: [slot 0: 8 entries] …

so that one search through adjacent bytes finds a subject in every slot (0.5 µs for 12 slots;
entry by entry it would be 17). Eight entries are two cache lines: owners do not share one.

Digests change under the limiter's lock only, so two workers cannot both take the last hold.
Giving one back needs no lock: it lowers the owner's own count, one aligned word.
"""

from __future__ import annotations

import sys

#: Half of them can be in use at once without a subject that finds no place.
ENTRIES_PER_SLOT = 4_096
WORDS_PER_SLOT = ENTRIES_PER_SLOT * 2
_BUCKET_WORDS = 8 * 2
_BUCKETS = WORDS_PER_SLOT // _BUCKET_WORDS
_MASK = _BUCKETS - 1
_NO_HOLDS = memoryview(bytes(_BUCKET_WORDS * 8)).cast("q")


class Hold:
    """One request's place under one concurrency limit."""

    __slots__ = ("_place", "_words")

    def __init__(self, words: memoryview, place: int) -> None:
        self._words = words
        self._place = place

    def release(self) -> None:
        """Give the place back. Safe to call twice."""
        place, self._place = self._place, -1
        if place >= 0:
            self._words[place + 1] -= 1


class ConcurrencyTable:
    """The counts of all slots, and the way to change this process's own.

    Args:
        words: int64 view of `slots × WORDS_PER_SLOT`, all zero at first.
        slot: The slot that this process owns.
    """

    __slots__ = ("_bytes", "_group_words", "_own", "_words")

    def __init__(self, words: memoryview, slot: int) -> None:
        slots, rest = divmod(len(words), WORDS_PER_SLOT)
        if rest or not 0 <= slot < slots:
            raise ValueError(f"slot {slot} is outside a table of {len(words)} words")
        self._words = words
        self._bytes = words.cast("B")
        self._group_words = slots * _BUCKET_WORDS
        self._own = slot * _BUCKET_WORDS

    def survey(self, digest: int) -> tuple[int, int]:
        """Return *digest*'s holds in all slots, and where `hold` may count one more.

        The place is -1 when this slot has room for no other subject. Only under the lock.
        """
        words, group_words, first_own = self._words, self._group_words, self._own
        name = digest.to_bytes(8, sys.byteorder, signed=True)
        held, place = 0, -1
        first, second = (digest & _MASK) * group_words, (digest >> 32 & _MASK) * group_words
        for group in (first, second) if first != second else (first,):
            group_bytes = self._bytes[group * 8 : (group + group_words) * 8].tobytes()
            at = group_bytes.find(name)
            while at >= 0:
                if at % 16 == 0:  # else it is a count, or parts of two words
                    entry = group + at // 8
                    # Read anew: only a whole aligned word is never seen half changed.
                    count = words[entry + 1]
                    held += count
                    if count and 0 <= entry - group - first_own < _BUCKET_WORDS:
                        place = entry
                at = group_bytes.find(name, at + 1)
        return held, place if place >= 0 else self._free_place(
            first + first_own, second + first_own
        )

    def hold(self, digest: int, place: int) -> Hold | None:
        """Count one more for *digest* at the *place* that `survey` returned.

        None when another subject has taken the place since, and there is no other. Only
        under the lock.
        """
        words = self._words
        if words[place + 1] and words[place] != digest:
            _, place = self.survey(digest)
            if place < 0:
                return None
        words[place] = digest
        words[place + 1] += 1
        return Hold(words, place)

    def _free_place(self, first: int, second: int) -> int:
        """Return a free entry in the emptier of this slot's two buckets, or -1."""
        words = self._words
        place, most = -1, 0
        for bucket in (first, second):
            counts = words[bucket + 1 : bucket + _BUCKET_WORDS : 2].tolist()
            free = counts.count(0)
            if free > most:
                place, most = bucket + counts.index(0) * 2, free
        return place


def clear_slot(words: memoryview, slot: int) -> None:
    """Forget all holds of a worker that is gone. Only after `waitpid` has returned (0.1 ms)."""
    group_words = len(words) // _BUCKETS
    for start in range(slot * _BUCKET_WORDS, len(words), group_words):
        words[start : start + _BUCKET_WORDS] = _NO_HOLDS
