"""Limits are exact over processes that share one table and are killed while they use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.limits.contending_workers import RATES, RUNNING

from tidegate.limits.rules import Rule

ROOT = Path(__file__).parents[2]
SECONDS = 3.0


@pytest.fixture(scope="module")
def outcome() -> dict:
    script = Path(__file__).with_name("contending_workers.py")
    done = subprocess.run(
        [sys.executable, script, str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("rule", RATES, ids=lambda rule: rule.name)
def test_no_interval_admits_too_much_whoever_is_killed(outcome: dict, rule: Rule) -> None:
    """All admissions of four processes, replayed in the order of their stamps."""
    stamps = outcome["admitted"][rule.name]
    assert outcome["kills"] >= 20
    assert len(stamps) > 1_000
    tat = 0
    for now in stamps:
        tat = max(tat, now) + rule.cost_ns
        assert tat - now <= rule.capacity_ns


def test_kills_waste_next_to_nothing_of_a_limit(outcome: dict) -> None:
    """A kill costs at most the one request that was never answered."""
    stamps = outcome["admitted"]["tight"]
    tight = RATES[0]
    seconds = (stamps[-1] - stamps[0]) / 1e9
    allowed = tight.burst + tight.amount * seconds
    assert 0.9 * allowed <= len(stamps) <= allowed + 1


def test_holds_never_exceed_their_limit_and_die_with_their_worker(outcome: dict) -> None:
    """Whoever was killed with a hold does not keep it."""
    assert outcome["most_running"] == RUNNING.amount
    assert outcome["left_running"] == 0
