"""A limiter over memory of its own, with a clock and a lock that the test moves."""

from __future__ import annotations

from tidegate.limits.concurrency import WORDS_PER_SLOT, ConcurrencyTable
from tidegate.limits.limiter import Decision, Limiter
from tidegate.limits.rules import Rule

S = 1_000_000_000


class FakeLock:
    """Free unless told otherwise."""

    def __init__(self) -> None:
        self.busy_tries = 0
        self.held = False

    def acquire(self) -> None:
        assert not self.held
        if self.busy_tries:
            self.busy_tries -= 1
            raise BlockingIOError
        self.held = True

    def release(self) -> None:
        self.held = False


class Clock:
    """Nanoseconds that the test moves."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def __call__(self) -> int:
        return self.now_ns


def table_words(entries: int) -> memoryview:
    """Return the empty memory of a table."""
    return memoryview(bytearray(entries * 16)).cast("q")


class Bench:
    """A limiter over memory of its own."""

    def __init__(self, entries: int = 1024, slots: int = 2) -> None:
        self.clock = Clock()
        self.lock = FakeLock()
        self.counts = memoryview(bytearray(slots * WORDS_PER_SLOT * 8)).cast("q")
        self.words = table_words(entries)
        self.limiter = self.worker(0)

    def worker(self, slot: int, words: memoryview | None = None) -> Limiter:
        """Return another process's limiter, which owns *slot*."""
        return Limiter(
            self.words if words is None else words,
            self.lock,
            b"k" * 32,
            self.clock,
            ConcurrencyTable(self.counts, slot),
        )

    def ask(self, *pairs: tuple[Rule, bytes], worker: Limiter | None = None) -> Decision:
        """Let *worker* decide a request against *pairs* of limit and subject."""
        limiter = worker or self.limiter
        decision = limiter.admit([limiter.check(rule, subject) for rule, subject in pairs])
        assert decision is not None
        assert not self.lock.held
        return decision


def rate(amount: int = 60, burst: int | None = None, window_s: float = 60, **more) -> Rule:
    """Return a rate limit; its burst is its amount unless told otherwise."""
    name = more.pop("name", "r")
    per = more.pop("per", "key")
    return Rule(name, per, "requests", amount, int(window_s * S), burst or amount, **more)


def running(amount: int, **more) -> Rule:
    """Return a concurrency limit."""
    return Rule(more.pop("name", "running"), "key", "concurrency", amount, S, amount, **more)
