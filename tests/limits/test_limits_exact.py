"""A limit admits what its definition allows: never more, and nothing is lost to refusals."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.limits.limiter_stand import Bench, S, rate, running

from tidegate.errors import ConfigError
from tidegate.limits.gcra import increment_ns, remaining
from tidegate.limits.rules import Rule

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
    own = rate(6, 2, name="own")
    shared = rate(4, 3, name="shared", per="global")
    for subject, gap in steps:
        bench.clock.now_ns += gap
        before = bench.words.tolist()
        decision = bench.ask((own, subject.encode()), (shared, b""))
        if not decision.allowed:
            assert bench.words.tolist() == before
            assert decision.refused_by in (own, shared)
            assert [state[0] for state in decision.states] == [own, shared]


def test_the_longest_wait_is_told() -> None:
    """Waiting for one limit only to meet the next would break the promise."""
    bench = Bench()
    quick, slow = rate(60, 1, name="quick"), rate(1, 1, name="slow")
    assert bench.ask((quick, b"a"), (slow, b"a")).allowed
    decision = bench.ask((quick, b"a"), (slow, b"a"))
    assert decision.refused_by is slow
    assert decision.retry_after_ns == 60 * S


def test_remaining_counts_down_and_reset_tells_when_all_is_back() -> None:
    """The numbers of the headers."""
    bench = Bench()
    rule = rate(60, 3)
    shown = [bench.ask((rule, b"a")).states[0][1:] for _ in range(3)]
    assert shown == [(2, S), (1, 2 * S), (0, 3 * S)]
    refused = bench.ask((rule, b"a"))
    assert refused.states[0][1:] == (0, 3 * S)
    bench.clock.now_ns += S
    assert bench.ask((rule, b"a")).states[0][1:] == (0, 3 * S)


def test_a_shadow_limit_never_refuses_and_is_reported() -> None:
    """It consumes only what it would have admitted, so it shows what it would do."""
    bench = Bench()
    rule = rate(60, 1, enforced=False)
    assert not bench.ask((rule, b"a")).shadow_refused
    for _ in range(3):
        decision = bench.ask((rule, b"a"))
        assert decision.allowed
        assert decision.shadow_refused == (rule,)
        assert decision.states == []
    bench.clock.now_ns += S
    assert not bench.ask((rule, b"a")).shadow_refused


def test_near_is_told_from_eighty_percent_on() -> None:
    """The fourth of five, at exactly 80 %, is the first that is near."""
    bench = Bench()
    rule = rate(60, 5)
    near = [bool(bench.ask((rule, b"a")).near) for _ in range(5)]
    assert near == [False, False, False, True, True]


def test_subjects_and_limits_do_not_know_each_other() -> None:
    """Neither another subject nor another limit of the same numbers shares a bucket."""
    bench = Bench()
    first, second = rate(1, 1, name="a"), rate(1, 1, name="b")
    assert bench.ask((first, b"x")).allowed
    assert bench.ask((first, b"y")).allowed
    assert bench.ask((second, b"x")).allowed
    assert not bench.ask((first, b"x")).allowed


def test_a_busy_lock_is_tried_and_then_left() -> None:
    """The loop is never blocked: None after twenty tries, the same decision later."""
    bench = Bench()
    check = bench.limiter.check(rate(), b"a")
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
    decision = await bench.limiter.admit_later([bench.limiter.check(rate(), b"a")])
    assert decision.allowed


class Model:
    """What the limiter should do, as plainly as it can be said: one dict, no memory, no hints."""

    def __init__(self) -> None:
        self.tats: dict[tuple[str, bytes], int] = {}
        self.running: dict[tuple[str, bytes], int] = {}

    def wait_ns(self, rule: Rule, subject: bytes, now_ns: int) -> int:
        if rule.is_concurrency:
            return S if self.running.get((rule.name, subject), 0) >= rule.amount else 0
        tat = max(self.tats.get((rule.name, subject), 0), now_ns)
        return max(0, tat + rule.cost_ns - rule.burst * rule.cost_ns - now_ns)

    def ask(self, pairs: list[tuple[Rule, bytes]], now_ns: int) -> tuple[int, list[Rule]]:
        waits = [self.wait_ns(rule, subject, now_ns) for rule, subject in pairs]
        longest = max(w for (rule, _), w in zip(pairs, waits, strict=True) if rule.enforced)
        shadow = [r for (r, _), w in zip(pairs, waits, strict=True) if w and not r.enforced]
        if not longest:
            for (rule, subject), wait in zip(pairs, waits, strict=True):
                name = (rule.name, subject)
                if wait:
                    continue
                if rule.is_concurrency:
                    self.running[name] = self.running.get(name, 0) + 1
                else:
                    self.tats[name] = max(self.tats.get(name, 0), now_ns) + rule.cost_ns
        return longest, shadow

    def end(self, pairs: list[tuple[Rule, bytes]], shadow: list[Rule]) -> None:
        for rule, subject in pairs:
            if rule.is_concurrency and rule not in shadow:
                self.running[rule.name, subject] -= 1


RULES = [
    rate(6, 2, name="own"),
    rate(4, 3, name="all", per="global"),
    rate(3, 3, window_s=5, name="watched", enforced=False),
    running(2),
    running(1, name="tried", enforced=False),
]
steps = st.lists(
    st.tuples(
        st.sets(st.sampled_from(range(1, 5))),  # limits besides the first
        st.sampled_from([b"a", b"b"]),
        st.integers(0, 6 * S),  # gap before it
        st.integers(0, 1),  # which worker is asked
        st.integers(0, 3),  # how many requests end before it
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=150, deadline=None)
def test_any_mix_of_limits_and_workers_decides_as_the_plain_model(case) -> None:
    """Rates and concurrency, enforced and shadow, two workers over one table."""
    bench, model = Bench(entries=64), Model()
    workers = [bench.limiter, bench.worker(1)]
    open_requests: list = []
    for others, subject, gap, worker, ends in case:
        bench.clock.now_ns += gap
        for decision, pairs, shadow in open_requests[:ends]:
            decision.release()
            model.end(pairs, shadow)
        del open_requests[:ends]
        pairs = [(RULES[n], subject) for n in (0, *sorted(others))]
        wait, shadow = model.ask(pairs, bench.clock.now_ns)
        decision = bench.ask(*pairs, worker=workers[worker])
        assert decision.allowed == (wait == 0)
        assert decision.retry_after_ns == wait
        assert list(decision.shadow_refused) == shadow
        assert [state[0] for state in decision.states] == [r for r, _ in pairs if r.enforced]
        for rule, left, _ in decision.states:
            if rule.is_concurrency:
                assert left == rule.amount - model.running.get((rule.name, subject), 0)
        if decision.allowed:
            open_requests.append((decision, pairs, shadow))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**15))
def test_the_arithmetic_never_rounds_in_favour_of_more(
    cost: int, amount: int, window_ns: int
) -> None:
    """An increment is at least the exact share."""
    step = increment_ns(cost, amount, window_ns)
    assert step * amount >= cost * window_ns
    assert (step - 1) * amount < cost * window_ns
    assert remaining(0, step, step) == 1
    assert remaining(1, step, step) == 0
    assert remaining(step, step, 3 * step) == 2
    assert remaining(9 * step, step, 3 * step) == 0


def test_a_name_cannot_break_out_of_its_header() -> None:
    """Quotes are escaped; line ends and what is not ASCII never reach a header."""
    rule = Rule('a"\r\nx: y\\é', "key", "requests", 1, S, 1)
    assert rule.name_item == rb'"a\"x: y\\?"'
    assert rule.policy_item == rule.name_item + b";q=1;w=1"
    running = Rule("run", "key", "concurrency", 8, S, 8)
    assert running.policy_item == b'"run";q=8;qu="concurrent-requests"'


def test_a_burst_that_no_clock_can_count_is_refused_when_configured() -> None:
    """Not when the first subject reaches it: the TAT is an int64 of ns."""
    year_s = 365 * 86_400
    assert rate(1, 146, window_s=year_s).capacity_ns == 146 * year_s * S
    with pytest.raises(ConfigError, match=r"limits\.slow\.burst"):
        rate(1, 147, window_s=year_s, name="slow")
