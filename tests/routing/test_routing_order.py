"""Which target is tried, and whether another follows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.routing.plan import ModelRoute, link_fallbacks
from tidegate.routing.retry import (
    RetryBudget,
    backoff_s,
    next_after_fault,
    next_after_status,
    parse_retry_after,
)
from tidegate.routing.target import Target
from tidegate.upstream.answer import UpstreamFault


def _target(model: str, weight: int = 1) -> Target:
    return Target(
        provider="p",
        model=model,
        label=model,
        weight=weight,
        client=None,  # type: ignore[arg-type]
        base_path=b"/v1",
        origin_lines=b"",
        stream_usage=True,
    )


def _route(name: str, *weights: int) -> ModelRoute:
    targets = [_target(f"{name}{index}", weight) for index, weight in enumerate(weights or (1,))]
    return ModelRoute(name, targets, retries=2, total_s=60.0)


def test_weights_share_the_first_attempts() -> None:
    """A target of weight 3 is first three times as often as one of weight 1."""
    route = _route("m", 3, 1)
    chance = random.Random(7).random
    first = Counter(route.order(chance)[0].model for _ in range(8000))
    assert 0.72 < first["m0"] / 8000 < 0.78


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.randoms())
def test_every_target_is_tried_once_in_any_order(weights: list[int], rng: random.Random) -> None:
    """The order is a permutation, whatever the weights."""
    route = _route("m", *weights)
    assert {t.model for t in route.order(rng.random)} == {t.model for t in route.targets}


def test_fallbacks_are_walked_depth_first_and_none_twice() -> None:
    """A → b → d, then c; d is not tried again."""
    routes = {name: _route(name) for name in "abcd"}
    link_fallbacks(routes, {"a": ["b", "c"], "b": ["d"], "c": ["d"]})
    assert [step.name for step in routes["a"].chain] == ["a", "b", "d", "c"]


def test_a_circle_of_fallbacks_is_refused() -> None:
    """Endless attempts cannot be configured."""
    routes = {name: _route(name) for name in "ab"}
    with pytest.raises(ValueError, match="circle: a → b → a"):
        link_fallbacks(routes, {"a": ["b"], "b": ["a"]})


def test_retries_are_a_fifth_of_the_requests() -> None:
    """After the reserve is spent, 1,000 requests allow 200 retries."""
    budget = RetryBudget(ratio=0.2, reserve=10.0)
    while budget.take():
        pass
    allowed = 0
    for _ in range(1000):
        budget.note_request()
        allowed += budget.take()
    assert 198 <= allowed <= 200


@pytest.mark.parametrize(
    ("status", "following"),
    [
        (400, "final"), (404, "final"), (413, "final"), (422, "final"),
        (401, "failover"), (403, "failover"), (402, "failover"),
        (408, "retry"), (429, "retry"), (500, "retry"), (503, "retry"), (529, "retry"),
        (204, "failover"), (302, "failover"), (418, "failover"),
    ],
)  # fmt: skip
def test_the_status_says_whether_another_attempt_follows(status: int, following: str) -> None:
    """The client's faults are final; ours there fail over; trouble is retried."""
    assert next_after_status(status) == following


@pytest.mark.parametrize(
    ("kind", "answered", "following"),
    [
        ("connect", False, "retry"), ("busy", False, "retry"),
        ("truncated", False, "retry"), ("truncated", True, "failover"),
        ("first_byte", False, "failover"), ("protocol", True, "failover"),
        ("total", False, "final"), ("tls", False, "failover"),
    ],
)  # fmt: skip
def test_a_request_that_may_be_running_is_not_sent_to_the_same_place_again(
    kind: str, answered: bool, following: str
) -> None:
    """It could be billed twice."""
    fault = UpstreamFault(kind, "x", sent=True, answered=answered)  # type: ignore[arg-type]
    assert next_after_fault(fault) == following


def _sized(*sizes: int | None, **said: int) -> ModelRoute:
    targets = [_target(str(number), 1) for number in range(len(sizes))]
    for target, size in zip(targets, sizes, strict=True):
        target.context_tokens = size
    return ModelRoute("m", targets, retries=0, total_s=1.0, **said)


def test_a_model_takes_what_each_of_its_targets_takes() -> None:
    """One whose size is not known may be the smallest; what the operator says counts first."""
    assert _sized(9000, 4000).context_tokens == 4000
    assert _sized(9000, None).context_tokens is None
    assert _sized(9000, None, context_tokens=7000).context_tokens == 7000
    assert _sized(9000, max_output_tokens=100).max_output_tokens == 100


def test_another_target_is_not_waited_for_and_the_same_one_is() -> None:
    """Back-off doubles with jitter, and what the upstream asks for wins."""
    assert backoff_s(1, lambda: 0.5, 9.0, other_target=True) == 0.0
    assert backoff_s(1, lambda: 0.5, 9.0, other_target=False) == 9.0
    waits = [backoff_s(n, lambda: 1.0, None, other_target=False) for n in range(1, 9)]
    assert waits == sorted(waits)
    assert waits[-1] == 5.0
    assert backoff_s(3, lambda: 0.0, None, other_target=False) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("value", "value_ms", "seconds"),
    [
        (b"3", None, 3.0), (b"0.5", None, 0.5), (None, b"1500", 1.5), (b"9", b"20", 0.02),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", None, None), (b"-1", None, None),
        (b"nan", None, None), (b"inf", None, None), (None, None, None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_its_forms(
    value: bytes | None, value_ms: bytes | None, seconds: float | None
) -> None:
    """Milliseconds win; nonsense is no advice."""
    assert parse_retry_after(value, value_ms) == seconds
