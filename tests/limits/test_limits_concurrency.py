"""Concurrency limits: one count over all workers, and holds that die with their worker."""

from __future__ import annotations

import hashlib

import pytest
from tests.limits.limiter_stand import Bench, rate, running

from tidegate.limits.concurrency import (
    ENTRIES_PER_SLOT,
    WORDS_PER_SLOT,
    ConcurrencyTable,
    clear_slot,
)
from tidegate.limits.limiter import Limiter


def test_concurrency_counts_over_workers_and_dies_with_them() -> None:
    """Two workers share one count; a dead one's holds are free once its slot is cleared."""
    bench = Bench()
    rule = running(3)
    other = bench.worker(1)
    mine = [bench.ask((rule, b"a")), bench.ask((rule, b"a"))]
    theirs = bench.ask((rule, b"a"), worker=other)
    assert theirs.allowed
    assert not bench.ask((rule, b"a")).allowed
    assert not bench.ask((rule, b"a"), worker=other).allowed
    assert bench.ask((rule, b"b")).allowed
    mine[0].release()
    mine[0].release()
    assert bench.ask((rule, b"a")).allowed
    assert not bench.ask((rule, b"a")).allowed
    clear_slot(bench.counts, 1)
    assert bench.ask((rule, b"a")).allowed
    assert not bench.ask((rule, b"a")).allowed


def test_a_refusal_by_a_rate_holds_no_concurrency() -> None:
    """All or nothing holds over both kinds."""
    bench = Bench()
    once, together = rate(1, 1), running(1)
    first = bench.ask((together, b"a"), (once, b"a"))
    assert first.allowed
    first.release()
    assert not bench.ask((together, b"a"), (once, b"a")).allowed
    assert bench.ask((together, b"a")).allowed


def _digest(number: int) -> int:
    raw = hashlib.blake2b(b"%d" % number, digest_size=8).digest()
    return int.from_bytes(raw, "little", signed=True)


def _slots(count: int) -> memoryview:
    return memoryview(bytearray(count * WORDS_PER_SLOT * 8)).cast("q")


def test_half_of_a_slot_can_be_held_before_anybody_finds_no_place() -> None:
    """And everybody is found again, by every slot, with the right count."""
    words = _slots(5)
    table, other = ConcurrencyTable(words, 3), ConcurrencyTable(words, 0)
    digests = [_digest(number) for number in range(ENTRIES_PER_SLOT // 2)]
    for digest in digests:
        held, place = table.survey(digest)
        assert held == 0
        assert table.hold(digest, place) is not None
    assert all(table.survey(digest)[0] == other.survey(digest)[0] == 1 for digest in digests)


def test_clearing_a_slot_forgets_its_holds_and_no_others() -> None:
    """The slots lie between each other in the memory."""
    words = _slots(3)
    tables = [ConcurrencyTable(words, slot) for slot in range(3)]
    digests = [_digest(number) for number in range(500)]
    for table in tables:
        for digest in digests:
            table.hold(digest, table.survey(digest)[1])
    clear_slot(words, 1)
    assert {tables[1].survey(digest)[0] for digest in digests} == {2}
    clear_slot(words, 0)
    clear_slot(words, 2)
    assert not any(words.tolist())


def test_a_full_slot_refuses_new_subjects_and_keeps_the_old() -> None:
    """A hold that could not be counted is not given."""
    bench = Bench()
    rule = running(2)
    names = [b"%d" % number for number in range(ENTRIES_PER_SLOT * 2)]
    held = [name for name in names if bench.ask((rule, name)).allowed]
    assert ENTRIES_PER_SLOT * 0.9 < len(held) <= ENTRIES_PER_SLOT
    refused = next(name for name in names if name not in held)
    assert not bench.ask((rule, refused)).allowed
    assert bench.ask((rule, refused), worker=bench.worker(1)).allowed
    assert bench.ask((rule, held[0])).allowed
    assert not bench.ask((rule, held[0])).allowed


def test_two_new_subjects_of_a_request_cannot_share_the_last_place() -> None:
    """The second is refused, and what the first has taken is given back."""
    bench = Bench()
    first, second = running(9, name="first"), running(9, name="second")
    one = bench.limiter.check(first, b"a")
    two = bench.limiter.check(second, b"a")
    two.digest = one.digest ^ (1 << 50)  # the same buckets, another subject
    table = ConcurrencyTable(bench.counts, 0)
    group_words = 2 * 16
    for bucket in (one.digest & 511, one.digest >> 32 & 511):
        for entry in range(bucket * group_words, bucket * group_words + 16, 2):
            bench.counts[entry : entry + 2] = memoryview(b"\1" * 16).cast("q")
    _, place = table.survey(one.digest)
    assert place == -1
    bench.counts[(one.digest & 511) * group_words + 5] = 0
    before = bench.counts.tolist()
    decision = bench.limiter.admit([one, two])
    assert decision is not None
    assert not decision.allowed
    assert decision.refused_by is second
    assert bench.counts[1::2].tolist() == before[1::2]


def test_a_limiter_without_a_table_for_them_says_so() -> None:
    """It does not pass what it cannot count."""
    bench = Bench()
    limiter = Limiter(bench.words, bench.lock, b"k" * 32, bench.clock)
    with pytest.raises(RuntimeError, match="need their table"):
        limiter.check(running(1), b"a")


def test_a_changed_amount_counts_what_is_already_running() -> None:
    """A reload that lowers a limit does not start from zero."""
    bench = Bench()
    kept = [bench.ask((running(3), b"a")) for _ in range(3)]
    assert not bench.ask((running(2), b"a")).allowed
    kept[0].release()
    assert not bench.ask((running(2), b"a")).allowed
    kept[1].release()
    assert bench.ask((running(2), b"a")).allowed
