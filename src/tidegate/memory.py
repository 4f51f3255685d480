"""The shared memory of an instance: one sealed `memfd`, mapped once by each process.

The supervisor creates it, its children inherit the descriptor and attach. It has no name,
so nothing is left behind after a crash and two instances cannot meet in it; it is allocated
in full at the start, so no store can end in SIGBUS for want of room; it is sealed, so nobody
can take the room away again; and its descriptor survives `execve`, so an upgrade keeps it.

Layout (all numbers little-endian on the machines we run on, native in any case)::

    header    one page: magic, version of the layout, number of slots, a random key
    words     int64: 64 for the instance, then 64 for each slot
    index     bytes: the append-only list of metric series (`metrics.registry`)
    limiter   int64: 2^18 entries of two words (`limits`)
    holds     int64: 8,192 words for each slot (`limits.concurrency`)
    cells     float64: 2^18 for each slot

Slot 0 is the supervisor's, slot 1 control's, the others are workers'. A word or cell has one
writer: two processes that add to the same one lose about 15 % of what they add. A slot belongs
to its process until `waitpid` has returned for it.

Locks are POSIX record locks on single bytes of the same file. The kernel frees them when their
holder dies, whatever it died of. Three traps come with them:

- Closing *any* descriptor of the file, a duplicate too, drops all locks of the process. Never
  duplicate or close the descriptor; a process attaches once.
- They exclude processes, not threads: only the thread that runs the loop may take one.
- `flock` on an inherited descriptor excludes nobody, so it is no replacement.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
import struct
import tempfile
import time
from enum import IntEnum
from functools import partial

SUPERVISOR_SLOT = 0
CONTROL_SLOT = 1
FIRST_WORKER_SLOT = 2

INDEX_LOCK = 0
LIMITER_LOCK = 1

CELLS_PER_SLOT = 1 << 18
LIMITER_ENTRIES = 1 << 18
LIMITER_ENTRY_WORDS = 2
HOLD_WORDS_PER_SLOT = 8_192
INDEX_BYTES = 2 << 20

_MAGIC = b"tidegate"
_LAYOUT = 1
_PAGE = 4096
_HEADER = struct.Struct("=8sII32s")
_WORDS_PER_BLOCK = 64  # 512 bytes: no two writers share a cache line
_MAX_WORKER_SLOTS = 4096

# Looked up once: the limiter's lock is taken at each request.
_lockf = fcntl.lockf
_TRY_EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB
_RELEASE = fcntl.LOCK_UN


class InstanceWord(IntEnum):
    """Words of the whole instance; index into `Segment.words`."""

    STARTED_AT_NS = 0
    """Unix time in ns at which the segment was created. Never changes."""
    GENERATION = 1
    """Newest configuration generation that the supervisor has published."""
    KEYS_GENERATION = 2
    """Newest generation of the key table that the supervisor has published."""
    INDEX_LENGTH = 3
    """Committed bytes of the index; written under `INDEX_LOCK`, always last."""
    REAPS = 4
    """Odd while the supervisor moves a dead child's figures; see `metrics.runtime.reaping`."""
    WATCHED_UNTIL_NS = 5
    """`time.monotonic_ns()` until which workers collect recent requests. Written by control."""


class SlotWord(IntEnum):
    """Words of one slot; turned into an index of `Segment.words` by `Segment.at`."""

    PID = 0
    """Process id of the owner; 0 when the slot is free. Written by the supervisor."""
    STATE = 1
    """A `SlotState`. `STARTING` and `FREE` by the supervisor, the others by the owner."""
    HEARTBEAT_NS = 2
    """`time.monotonic_ns()` of the last turn of the owner's loop. Written by the owner."""
    INCARNATION = 3
    """How many processes this slot has had. Written by the supervisor."""
    GENERATION = 4
    """Configuration generation in force in the owner. Written by the owner."""
    KEYS_GENERATION = 5
    """Generation of the key table in force in the owner. Written by the owner."""
    CONNECTIONS = 6
    """Client connections that the owner holds open. Written by the owner."""
    STARTED_AT_NS = 7
    """Unix time in ns at which the owner was started. Written by the supervisor."""


class SlotState(IntEnum):
    """What the owner of a slot is doing."""

    FREE = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


class SharedLock:
    """One lock byte, as two calls without a frame of Python around them (0.4 µs a pair).

    Attributes:
        acquire: Takes it, or raises `BlockingIOError` when another process has it. Never waits.
        release: Gives it back.
    """

    __slots__ = ("acquire", "release")

    def __init__(self, fd: int, byte: int) -> None:
        self.acquire = partial(_lockf, fd, _TRY_EXCLUSIVE, 1, byte)
        self.release = partial(_lockf, fd, _RELEASE, 1, byte)


class Segment:
    """One process's view of the shared memory. Create or attach one, once, per process.

    Attributes:
        fd: The file descriptor, close-on-exec. Pass it on by `subprocess`'s `pass_fds`, or by
            `os.set_inheritable` before an `execve`.
        size: Bytes of the whole segment.
        slots: Number of slots: supervisor, control, and the workers'.
        words: int64 view; see `InstanceWord` and `at`.
        index: Byte view of the list of metric series.
        limiter: int64 view, `LIMITER_ENTRIES` times `LIMITER_ENTRY_WORDS`, zero at first.
        holds: int64 view, `HOLD_WORDS_PER_SLOT` for each slot, zero at first.
        key: 32 random bytes of this instance, for keyed digests that all processes share.
    """

    __slots__ = (
        "_cells",
        "_map",
        "_whole",
        "fd",
        "holds",
        "index",
        "key",
        "limiter",
        "size",
        "slots",
        "words",
    )

    def __init__(self, fd: int, slots: int, key: bytes) -> None:
        """Map *fd*, whose header has been read. Use `create` or `attach`."""
        plan = _Offsets(slots)
        self.fd = fd
        self.slots = slots
        self.key = key
        self.size = plan.size
        # Not populated: a process pays (and its resident size shows) only what it touches.
        self._map = mmap.mmap(fd, plan.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        whole = memoryview(self._map)
        self.words = whole[plan.words : plan.index].cast("q")
        self.index = whole[plan.index : plan.limiter]
        self.limiter = whole[plan.limiter : plan.holds].cast("q")
        self.holds = whole[plan.holds : plan.cells].cast("q")
        bytes_per_slot = CELLS_PER_SLOT * 8
        self._cells = [
            whole[start : start + bytes_per_slot].cast("d")
            for start in range(plan.cells, plan.size, bytes_per_slot)
        ]
        self._whole = whole

    @classmethod
    def create(cls, *, worker_slots: int) -> Segment:
        """Allocate a new segment, all zero, for an instance with *worker_slots* worker slots.

        N workers need 2 · N + 2: a replacement runs beside the worker that it replaces. The
        calling process becomes the owner of the supervisor's slot.

        Raises:
            OSError: `ENOSPC` or `ENOMEM` when there is no room; nothing is left behind.
        """
        if not 1 <= worker_slots <= _MAX_WORKER_SLOTS:
            raise ValueError(f"worker_slots must be 1 to {_MAX_WORKER_SLOTS}, not {worker_slots}")
        slots = FIRST_WORKER_SLOT + worker_slots
        size = _Offsets(slots).size
        key = secrets.token_bytes(32)
        fd, sealable = _open_nameless()
        try:
            _allocate(fd, size)
            os.pwrite(fd, _HEADER.pack(_MAGIC, _LAYOUT, slots, key), 0)
            if sealable:
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            segment = cls(fd, slots, key)
        except BaseException:
            os.close(fd)
            raise
        segment.words[InstanceWord.STARTED_AT_NS] = time.time_ns()
        segment.claim(SUPERVISOR_SLOT)
        segment.set(SUPERVISOR_SLOT, SlotWord.PID, os.getpid())
        return segment

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """Map the segment behind an inherited *fd*.

        Raises:
            ValueError: It is not a segment, or one of a layout that this version does not know.
        """
        head = os.pread(fd, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            raise ValueError(f"descriptor {fd} is not a shared memory segment: it is too short")
        magic, layout, slots, key = _HEADER.unpack(head)
        if magic != _MAGIC:
            raise ValueError(f"descriptor {fd} is not a shared memory segment")
        if layout != _LAYOUT:
            raise ValueError(f"segment has layout {layout}, this version knows {_LAYOUT}")
        if not FIRST_WORKER_SLOT < slots <= FIRST_WORKER_SLOT + _MAX_WORKER_SLOTS:
            raise ValueError(f"segment announces {slots} slots")
        # A map longer than its file ends in SIGBUS at the first touch of the missing part.
        if os.fstat(fd).st_size != _Offsets(slots).size:
            raise ValueError("segment is not as long as its header says")
        os.set_inheritable(fd, False)
        return cls(fd, slots, key)

    def cells(self, slot: int) -> memoryview[float]:
        """Return the float64 view of *slot*'s cells; the same object at each call."""
        return self._cells[slot]

    def at(self, slot: int, word: SlotWord) -> int:
        """Return the index in `words` of *word* of *slot*, for code that keeps it."""
        return (slot + 1) * _WORDS_PER_BLOCK + word

    def get(self, slot: int, word: SlotWord) -> int:
        """Return *word* of *slot*."""
        return self.words[(slot + 1) * _WORDS_PER_BLOCK + word]

    def set(self, slot: int, word: SlotWord, value: int) -> None:
        """Store *word* of *slot*. Who may do so stands at each `SlotWord`."""
        self.words[(slot + 1) * _WORDS_PER_BLOCK + word] = value

    @property
    def started_at_s(self) -> float:
        """Unix time in seconds at which the instance was started."""
        return self.words[InstanceWord.STARTED_AT_NS] / 1e9

    @property
    def worker_slots(self) -> range:
        """Numbers of the slots that workers may have."""
        return range(FIRST_WORKER_SLOT, self.slots)

    def free_worker_slot(self) -> int | None:
        """Return a worker slot without owner, the least used first; None when all are taken."""
        free = [slot for slot in self.worker_slots if self.get(slot, SlotWord.STATE) == 0]
        return min(
            free, key=lambda slot: (self.get(slot, SlotWord.INCARNATION), slot), default=None
        )

    def claim(self, slot: int) -> int:
        """Take a free *slot* for a process about to start; return its incarnation, from 1.

        Called by the supervisor, which then stores `PID` once it knows it.
        """
        if self.get(slot, SlotWord.STATE) != SlotState.FREE:
            raise ValueError(f"slot {slot} has an owner")
        incarnation = self.get(slot, SlotWord.INCARNATION) + 1
        self.set(slot, SlotWord.INCARNATION, incarnation)
        self.set(slot, SlotWord.HEARTBEAT_NS, time.monotonic_ns())
        self.set(slot, SlotWord.STARTED_AT_NS, time.time_ns())
        self.set(slot, SlotWord.STATE, SlotState.STARTING)
        return incarnation

    def release(self, slot: int) -> None:
        """Free *slot*; only after `waitpid` has returned for its owner.

        `metrics.runtime.bury` does this together with everything else a death needs.
        """
        for word in (
            SlotWord.PID,
            SlotWord.CONNECTIONS,
            SlotWord.GENERATION,
            SlotWord.KEYS_GENERATION,
            SlotWord.STATE,
        ):
            self.set(slot, word, 0)

    def lock(self, byte: int) -> SharedLock:
        """Return the lock *byte* for one that takes it with every request."""
        return SharedLock(self.fd, byte)

    def try_lock(self, byte: int) -> bool:
        """Take the lock *byte* (`INDEX_LOCK`, `LIMITER_LOCK`) if nobody has it; never waits.

        About 1.4 µs with its `unlock`. A second call by the same process succeeds as well, so
        hold it across no `await`, and in the loop's thread only.
        """
        try:
            _lockf(self.fd, _TRY_EXCLUSIVE, 1, byte)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def unlock(self, byte: int) -> None:
        """Give the lock *byte* back."""
        _lockf(self.fd, _RELEASE, 1, byte)

    def close(self) -> None:
        """Unmap and close; drops every lock of this process. At the end of a process only."""
        for ints in (self.words, self.limiter, self.holds, self.index, self._whole):
            ints.release()
        for floats in self._cells:
            floats.release()
        self._map.close()
        os.close(self.fd)


class _Offsets:
    """Byte offsets of the regions for a number of slots."""

    __slots__ = ("cells", "holds", "index", "limiter", "size", "words")

    def __init__(self, slots: int) -> None:
        self.words = _PAGE
        self.index = self.words + _round_up((slots + 1) * _WORDS_PER_BLOCK * 8)
        self.limiter = self.index + INDEX_BYTES
        self.holds = self.limiter + LIMITER_ENTRIES * LIMITER_ENTRY_WORDS * 8
        self.cells = self.holds + slots * HOLD_WORDS_PER_SLOT * 8
        self.size = self.cells + slots * CELLS_PER_SLOT * 8


def _round_up(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def _open_nameless() -> tuple[int, bool]:
    """Return the descriptor of an empty file without a name, and whether it can be sealed."""
    if hasattr(os, "memfd_create"):
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        try:
            return os.memfd_create("tidegate", flags), True
        except OSError as error:
            # Refused by a sandbox or unknown to the kernel: a file does as well.
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
                raise
    # A tmpfs if there is one: a map of a file on disk stalls its writers at each write-back.
    shm = "/dev/shm"  # noqa: S108 (only a place for a file that loses its name at once)
    fd, path = tempfile.mkstemp(prefix="tidegate-", dir=shm if os.access(shm, os.W_OK) else None)
    os.unlink(path)
    return fd, False


def _allocate(fd: int, size: int) -> None:
    """Give *fd* *size* bytes of zeros that really exist, or raise `OSError`."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - offset], offset)
