"""How many requests of a subject run at once, counted so that holds die with their worker.

Each slot of the shared memory has its own small table of `(digest, count)`, written only by
the slot's owner. A subject's count is the sum over all slots. When a worker is gone, the
supervisor zeroes its slot's table: what it held is free again.

Taking a hold happens under the limiter's lock, so two workers cannot both take the last one.
Giving one back needs no lock: it only lowers the owner's own count.
"""

from __future__ import annotations

#: Half of them can be in use at once without a subject that finds no place.
ENTRIES_PER_SLOT = 4_096
WORDS_PER_SLOT = ENTRIES_PER_SLOT * 2
_BUCKET = 8
_BUCKET_MASK = ENTRIES_PER_SLOT // _BUCKET - 1


class Hold:
    """One request's place under one concurrency limit."""

    __slots__ = ("_place", "_table")

    def __init__(self, table: ConcurrencyTable, place: int) -> None:
        self._table = table
        self._place = place

    def release(self) -> None:
        """Give the place back."""
        place, self._place = self._place, -1
        if place >= 0:
            self._table.lower(place)


class ConcurrencyTable:
    """The counts of all slots, and the way to change this process's own.

    Args:
        words: int64 view of `slots × WORDS_PER_SLOT`.
        slot: The slot that this process owns.
    """

    __slots__ = ("_base", "_slots", "_words")

    def __init__(self, words: memoryview, slot: int) -> None:
        self._words = words
        self._slots = len(words) // WORDS_PER_SLOT
        if not 0 <= slot < self._slots:
            raise ValueError(f"slot {slot} is outside the table")
        self._base = slot * WORDS_PER_SLOT

    def count(self, digest: int) -> int:
        """Return how many holds *digest* has in all slots."""
        words = self._words
        total = 0
        for slot in range(self._slots):
            place = self._place(slot * WORDS_PER_SLOT, digest)
            if place >= 0 and words[place] == digest:
                total += words[place + 1]
        return total

    def hold(self, digest: int) -> Hold:
        """Count one more for *digest* in this slot."""
        words = self._words
        place = self._place(self._base, digest)
        if place < 0:
            raise RuntimeError("no place for another subject; ask has_room first")
        words[place] = digest
        words[place + 1] += 1
        return Hold(self, place)

    def lower(self, place: int) -> None:
        """Count one less at *place*, which `hold` has counted."""
        self._words[place + 1] -= 1

    def has_room(self, digest: int) -> bool:
        """Whether `hold` would find a place for *digest* in this slot."""
        return self._place(self._base, digest) >= 0

    def _place(self, base: int, digest: int) -> int:
        """Return *digest*'s place in the slot at *base*, else a free one, else -1.

        Two buckets of eight, as in `limits.table`; an entry with count 0 is free.
        """
        words = self._words
        free = -1
        for bucket in (digest & _BUCKET_MASK, (digest >> 32) & _BUCKET_MASK):
            first = base + bucket * _BUCKET * 2
            for place in range(first, first + _BUCKET * 2, 2):
                if words[place] == digest and words[place + 1]:
                    return place
                if free < 0 and words[place + 1] == 0:
                    free = place
        return free


def clear_slot(words: memoryview, slot: int) -> None:
    """Forget all holds of a worker that is gone. Only after `waitpid` has returned."""
    start = slot * WORDS_PER_SLOT
    words[start : start + WORDS_PER_SLOT] = memoryview(bytes(WORDS_PER_SLOT * 8)).cast("q")
