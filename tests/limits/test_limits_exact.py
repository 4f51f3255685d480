"""A limit admits what its definition allows: never more, and nothing is lost to refusals."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.limits.concurrency import WORDS_PER_SLOT, ConcurrencyTable, clear_slot
from tidegate.limits.gcra import increment_ns, remaining, wait_ns
from tidegate.limits.limiter import Limiter
from tidegate.limits.rules import Rule
from tidegate.limits.table import LimitTable

S = 1_000_000_000


class FakeLock:
    """Free unless told otherwise."""

    def __init__(self) -> None:
        self.busy_tries = 0
        self.held = False

    def try_acquire(self) -> bool:
        assert not self.held
        if self.busy_tries:
            self.busy_tries -= 1
            return False
        self.held = True
        return True

    def release(self) -> None:
        self.held = False


class Clock:
    """Nanoseconds that the test moves."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def __call__(self) -> int:
        return self.now_ns


def _words(entries: int) -> memoryview:
    return memoryview(bytearray(entries * 16)).cast("q")


class Bench:
    """A limiter over memory of its own."""

    def __init__(self, entries: int = 1024, slots: int = 2) -> None:
        self.clock = Clock()
        self.lock = FakeLock()
        self.counts = memoryview(bytearray(slots * WORDS_PER_SLOT * 8)).cast("q")
        self.words = _words(entries)
        self.limiter = self.worker(0)

    def worker(self, slot: int) -> Limiter:
        return Limiter(
            self.words, self.lock, b"k" * 32, self.clock, ConcurrencyTable(self.counts, slot)
        )

    def ask(self, *pairs: tuple[Rule, bytes], worker: Limiter | None = None):
        limiter = worker or self.limiter
        decision = limiter.admit([limiter.check(rule, subject) for rule, subject in pairs])
        assert decision is not None
        assert not self.lock.held
        return decision


def _rule(amount: int = 60, burst: int | None = None, window_s: float = 60, **more) -> Rule:
    name = more.pop("name", "r")
    per = more.pop("per", "key")
    return Rule(name, per, "requests", amount, int(window_s * S), burst or amount, **more)


numbers = st.tuples(
    st.integers(1, 1000), st.integers(1, 50), st.integers(1, 10**13), st.lists(
        st.integers(0, 10**12), min_size=1, max_size=120)
)  # fmt: skip


@given(numbers)
@settings(max_examples=300, deadline=None)
def test_no_interval_admits_more_than_burst_plus_rate(
    case: tuple[int, int, int, list[int]],
) -> None:
    """Between any two admissions at t1 <= t2: count <= burst + amount · (t2 - t1) / window."""
    amount, burst, window_ns, gaps = case
    bench = Bench()
    rule = Rule("r", "key", "requests", amount, window_ns, burst)
    admitted = []
    for gap in gaps:
        bench.clock.now_ns += gap
        if bench.ask((rule, b"a")).allowed:
            admitted.append(bench.clock.now_ns)
    for first, last in itertools.combinations(range(len(admitted)), 2):
        count = last - first + 1
        assert (count - burst) * window_ns <= amount * (admitted[last] - admitted[first])
    assert len(admitted) >= min(burst, len(gaps))


@given(numbers)
@settings(max_examples=200, deadline=None)
def test_a_lone_client_that_waits_as_told_is_admitted(
    case: tuple[int, int, int, list[int]],
) -> None:
    """`retry_after_ns` is exact: enough, and one ns less is not."""
    amount, burst, window_ns, gaps = case
    bench = Bench()
    rule = Rule("r", "key", "requests", amount, window_ns, burst)
    for gap in gaps:
        bench.clock.now_ns += gap
        decision = bench.ask((rule, b"a"))
        if not decision.allowed:
            bench.clock.now_ns += decision.retry_after_ns - 1
            assert not bench.ask((rule, b"a")).allowed
            bench.clock.now_ns += 1
            assert bench.ask((rule, b"a")).allowed


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20 * S)), max_size=80))
@settings(deadline=None)
def test_all_limits_of_a_request_are_taken_or_none(steps: list[tuple[str, int]]) -> None:
    """What a refused request would have cost elsewhere is not charged."""
    bench = Bench()
    own = _rule(6, 2, name="own")
    shared = _rule(4, 3, name="shared", per="global")
    for subject, gap in steps:
        bench.clock.now_ns += gap
        before = bench.limiter.table.live(0)
        decision = bench.ask((own, subject.encode()), (shared, b""))
        if not decision.allowed:
            assert bench.limiter.table.live(0) == before
            assert decision.refused_by in (own, shared)
            assert [state[0] for state in decision.states] == [own, shared]


def test_the_longest_wait_is_told() -> None:
    """Waiting for one limit only to meet the next would break the promise."""
    bench = Bench()
    quick, slow = _rule(60, 1, name="quick"), _rule(1, 1, name="slow")
    assert bench.ask((quick, b"a"), (slow, b"a")).allowed
    decision = bench.ask((quick, b"a"), (slow, b"a"))
    assert decision.refused_by is slow
    assert decision.retry_after_ns == 60 * S


def test_remaining_counts_down_and_reset_tells_when_all_is_back() -> None:
    """The numbers of the headers."""
    bench = Bench()
    rule = _rule(60, 3)
    shown = [bench.ask((rule, b"a")).states[0][1:] for _ in range(3)]
    assert shown == [(2, S), (1, 2 * S), (0, 3 * S)]
    refused = bench.ask((rule, b"a"))
    assert refused.states[0][1:] == (0, 3 * S)
    bench.clock.now_ns += S
    assert bench.ask((rule, b"a")).states[0][1:] == (0, 3 * S)


def test_a_shadow_limit_never_refuses_and_is_reported() -> None:
    """It consumes only what it would have admitted, so it shows what it would do."""
    bench = Bench()
    rule = _rule(60, 1, enforced=False)
    assert not bench.ask((rule, b"a")).shadow_refused
    for _ in range(3):
        decision = bench.ask((rule, b"a"))
        assert decision.allowed
        assert decision.shadow_refused == (rule,)
        assert decision.states == []
    bench.clock.now_ns += S
    assert not bench.ask((rule, b"a")).shadow_refused


def test_near_is_told_from_eighty_percent_on() -> None:
    """The fifth of five is near; the fourth, at exactly 80 %, is not yet."""
    bench = Bench()
    rule = _rule(60, 5)
    near = [bool(bench.ask((rule, b"a")).near) for _ in range(5)]
    assert near == [False, False, False, False, True]


def test_subjects_and_limits_do_not_know_each_other() -> None:
    """Neither another subject nor another limit of the same numbers shares a bucket."""
    bench = Bench()
    first, second = _rule(1, 1, name="a"), _rule(1, 1, name="b")
    assert bench.ask((first, b"x")).allowed
    assert bench.ask((first, b"y")).allowed
    assert bench.ask((second, b"x")).allowed
    assert not bench.ask((first, b"x")).allowed


def test_a_busy_lock_is_tried_and_then_left() -> None:
    """The loop is never blocked: None after twenty tries, the same decision later."""
    bench = Bench()
    check = bench.limiter.check(_rule(), b"a")
    bench.lock.busy_tries = 20
    assert bench.limiter.admit([check]) is None
    bench.lock.busy_tries = 19
    decision = bench.limiter.admit([check])
    assert decision is not None
    assert decision.allowed


async def test_a_busy_lock_is_waited_for_without_blocking() -> None:
    """`admit_later` decides once the other process is done."""
    bench = Bench()
    bench.lock.busy_tries = 45
    decision = await bench.limiter.admit_later([bench.limiter.check(_rule(), b"a")])
    assert decision.allowed


def test_two_thirds_of_the_table_can_be_live_before_anybody_finds_no_room() -> None:
    """Two choices of eight: 65 % live with less than 0.5 % refused, and none is forgotten."""
    table = LimitTable(_words(4096))
    placed = []
    for number in range(1, int(4096 * 0.65) + 1):
        digest = hash((number, "spread")) or 1
        if table.add(digest, 10**12, 1) >= 0:
            placed.append(digest)
    assert len(placed) >= 4096 * 0.65 * 0.995
    assert all(table.find(digest) >= 0 for digest in placed)
    assert table.live_fraction(1) == pytest.approx(len(placed) / 4096)


def test_a_full_table_is_closed_for_keys_and_open_for_addresses() -> None:
    """The declared answer: a flood of addresses cannot lock out keys, nor free them."""
    bench = Bench(entries=16)
    crowd = _rule(1, 1, name="crowd", window_s=3600)
    for number in range(200):
        bench.ask((crowd, b"%d" % number))
    refused = bench.limiter.table.refused
    assert refused > 0
    by_ip = _rule(1, 1, name="ip", per="ip", window_s=3600)
    by_key = _rule(1, 1, name="key", window_s=3600)
    assert bench.ask((by_ip, b"new")).allowed
    decision = bench.ask((by_key, b"new"))
    assert not decision.allowed
    assert decision.retry_after_ns > 0
    bench.clock.now_ns += 3601 * S
    assert bench.ask((by_key, b"new")).allowed


def test_concurrency_counts_over_workers_and_dies_with_them() -> None:
    """Two workers share one count; a dead one's holds are free once its slot is cleared."""
    bench = Bench()
    rule = Rule("c", "key", "concurrency", 3, S, 3)
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
    rate, together = _rule(1, 1), Rule("c", "key", "concurrency", 1, S, 1)
    first = bench.ask((together, b"a"), (rate, b"a"))
    assert first.allowed
    first.release()
    assert not bench.ask((together, b"a"), (rate, b"a")).allowed
    assert bench.ask((together, b"a")).allowed


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**15))
def test_the_arithmetic_never_rounds_in_favour_of_more(
    cost: int, amount: int, window_ns: int
) -> None:
    """An increment is at least the exact share."""
    step = increment_ns(cost, amount, window_ns)
    assert step * amount >= cost * window_ns
    assert (step - 1) * amount < cost * window_ns
    assert wait_ns(0, 5, step, step) == 0
    assert remaining(0, 5, step, step) == 1
    assert remaining(5 + step, 5, step, step) == 0


def test_a_name_cannot_break_out_of_its_header() -> None:
    """Quotes, line ends and what is not ASCII never reach a header."""
    rule = Rule('a"\r\nx: y\\é', "key", "requests", 1, S, 1)
    assert rule.name_item == b'"ax: y?"'
