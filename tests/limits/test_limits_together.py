"""Requests that are decided together are decided as one after the other at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.limits.limiter_stand import Bench, S, rate, running

from tidegate.limits.limiter import Check, Decision, Limiter
from tidegate.limits.rules import Rule

RULES = (
    rate(3, 2, name="own"),
    rate(60, 5, name="wide"),
    rate(7, 3, name="all", per="global"),
    rate(4, 1, name="shade", enforced=False),
    rate(5, 2, name="place", per="ip"),
    running(2, name="once"),
    running(3, name="dim", enforced=False),
)
SUBJECTS = (b"a", b"b", b"c")

#: One request: which of `RULES` it has to pass, and whose it is.
Request = tuple[tuple[int, ...], int]
requests = st.tuples(
    st.lists(st.sampled_from(range(len(RULES))), min_size=1, max_size=4, unique=True).map(tuple),
    st.sampled_from(range(len(SUBJECTS))),
)
#: One turn: how long after the one before, its requests, and how many that run end after it.
turns = st.lists(
    st.tuples(
        st.integers(0, 30 * S), st.lists(requests, min_size=1, max_size=16), st.integers(0, 5)
    ),
    max_size=12,
)


def checks_of(limiter: Limiter, request: Request, rules: tuple[Rule, ...]) -> list[Check]:
    """Return what *request* has to pass."""
    numbers, subject = request
    return [
        limiter.check(rules[n], b"" if rules[n].per == "global" else SUBJECTS[subject])
        for n in numbers
    ]


def said(decision: Decision) -> tuple[object, ...]:
    """Return all that a decision says."""
    return (
        decision.allowed,
        decision.retry_after_ns,
        decision.refused_by,
        decision.states,
        decision.shadow_refused,
        decision.near,
        len(decision.holds),
    )


def assert_decided_alike(
    days: list[tuple[int, list[Request], int]], rules: tuple[Rule, ...]
) -> None:
    """Two tables, one asked request by request and one turn by turn, stay the same."""
    one, all_at_once = Bench(), Bench()
    running_one: list[Decision] = []
    running_all: list[Decision] = []
    for gap, asked, ending in days:
        one.clock.now_ns += gap
        all_at_once.clock.now_ns += gap
        singly = [one.limiter.admit(checks_of(one.limiter, each, rules)) for each in asked]
        together = all_at_once.limiter.admit_all(
            [checks_of(all_at_once.limiter, each, rules) for each in asked]
        )
        assert together is not None
        assert not all_at_once.lock.held
        assert len(together) == len(singly) == len(asked)
        for single, other in zip(singly, together, strict=True):
            assert single is not None
            assert said(single) == said(other)
            running_one.append(single)
            running_all.append(other)
        assert one.words.tolist() == all_at_once.words.tolist()
        assert one.counts.tolist() == all_at_once.counts.tolist()
        for decision in (*running_one[:ending], *running_all[:ending]):
            decision.release()
        del running_one[:ending], running_all[:ending]


@given(turns)
@settings(max_examples=150, deadline=None)
def test_any_requests_under_any_limits_are_decided_alike(
    days: list[tuple[int, list[Request], int]],
) -> None:
    """Rates and places, enforced and shadow, of keys, addresses and all."""
    assert_decided_alike(days, RULES)


@pytest.mark.parametrize("number", range(len(RULES)), ids=[rule.name for rule in RULES])
@given(days=turns)
@settings(max_examples=40, deadline=None)
def test_requests_under_one_limit_are_decided_alike(
    number: int, days: list[tuple[int, list[Request], int]]
) -> None:
    """The limit that most keys have, whatever its kind."""
    single: list[tuple[int, list[Request], int]] = [
        (gap, [((0,), subject) for _, subject in asked], ending) for gap, asked, ending in days
    ]
    assert_decided_alike(single, (RULES[number],))


def test_of_those_that_come_together_no_more_pass_than_the_limit_allows() -> None:
    """In the order in which they came."""
    bench = Bench()
    rule = rate(60, 5)
    check = bench.limiter.check(rule, b"a")
    decisions = bench.limiter.admit_all([[check]] * 16)
    assert decisions is not None
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 11
    assert {decision.retry_after_ns for decision in decisions[5:]} == {S}


def test_what_one_of_them_is_refused_is_left_to_the_next() -> None:
    """A refused request has consumed nothing, of no limit."""
    bench = Bench()
    tight, shared = rate(60, 1, name="tight"), rate(60, 3, name="shared", per="global")
    mine = [bench.limiter.check(tight, b"a"), bench.limiter.check(shared, b"")]
    others = [bench.limiter.check(tight, b"b"), bench.limiter.check(shared, b"")]
    decisions = bench.limiter.admit_all([mine, mine, mine, others])
    assert decisions is not None
    assert [decision.allowed for decision in decisions] == [True, False, False, True]
    assert decisions[3].states[1][1] == 1


def test_a_lock_that_stays_taken_decides_nothing() -> None:
    """None, after a number of tries that has an end; nothing has been used."""
    bench = Bench()
    check = bench.limiter.check(rate(60, 5), b"a")
    before = bench.words.tolist()
    bench.lock.busy_tries = 1_000
    assert bench.limiter.admit_all([[check], [check]]) is None
    assert 0 < bench.lock.busy_tries < 1_000
    assert bench.words.tolist() == before
    assert not bench.lock.held


def test_a_lock_that_comes_free_soon_is_waited_for() -> None:
    """One hold of it serves all."""
    bench = Bench()
    check = bench.limiter.check(rate(60, 5), b"a")
    bench.lock.busy_tries = 3
    decisions = bench.limiter.admit_all([[check], [check]])
    assert decisions is not None
    assert [decision.allowed for decision in decisions] == [True, True]
    assert not bench.lock.held


def test_a_fault_in_the_middle_gives_the_lock_back() -> None:
    """Else no worker of the host could decide anything any more."""
    bench = Bench()
    good = bench.limiter.check(rate(60, 5), b"a")
    with pytest.raises(AttributeError):
        bench.limiter.admit_all([[good], [None]])  # type: ignore[list-item]
    assert not bench.lock.held
