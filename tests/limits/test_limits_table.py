"""The shared table: nobody is forgotten early, whatever dies at whichever store."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.limits.limiter_stand import Bench, S, rate, table_words

from tidegate.limits.limiter import UNTIMED_WAIT_NS
from tidegate.limits.table import LIVE_ALARM, LimitTable


def _digest(number: int) -> int:
    raw = hashlib.blake2b(b"%d" % number, digest_size=8).digest()
    return int.from_bytes(raw, "little", signed=True)


@pytest.mark.parametrize(("live", "most_refused"), [(0.5, 0.0), (LIVE_ALARM, 0.0005), (0.7, 0.002)])
def test_the_table_takes_nearly_all_subjects_up_to_seventy_percent(
    live: float, most_refused: float
) -> None:
    """None is refused up to half, hardly any up to 70 %; whoever got in is found again."""
    table = LimitTable(table_words(1 << 15))
    tats = {}
    for number in range(int(table.entries * live)):
        if table.add(_digest(number), 10**12 + number, 1) >= 0:
            tats[_digest(number)] = 10**12 + number
    wanted = int(table.entries * live)
    assert len(tats) >= wanted * (1 - most_refused)
    assert table.refused == wanted - len(tats)
    words = table._words
    assert all(words[table.find(digest) + 1] == tat for digest, tat in tats.items())
    assert table.live_fraction(1) == len(tats) / table.entries


def test_a_passed_entry_makes_room_and_a_live_one_never_does() -> None:
    """Sixteen subjects fill two buckets: the next one waits for the first to pass."""
    table = LimitTable(table_words(16))
    for number in range(16):
        assert table.add(_digest(number), 100 + number, 1) >= 0
    assert table.add(_digest(99), 500, 99) == -1
    assert table.add(_digest(99), 500, 100) >= 0
    assert table.find(_digest(0)) == -1
    assert all(table.find(_digest(number)) >= 0 for number in range(1, 16))


def test_a_full_table_is_closed_for_keys_and_open_for_addresses() -> None:
    """The declared answer: a flood of addresses cannot lock out keys, nor free them."""
    bench = Bench(entries=16)
    crowd = rate(1, 1, name="crowd", window_s=3600)
    for number in range(200):
        bench.ask((crowd, b"%d" % number))
    refused = bench.limiter.table.refused
    assert refused > 0
    by_ip = rate(1, 1, name="ip", per="ip", window_s=3600)
    by_key = rate(1, 1, name="key", window_s=3600)
    assert bench.ask((by_ip, b"new")).allowed
    decision = bench.ask((by_key, b"new"))
    assert not decision.allowed
    assert decision.retry_after_ns > 0
    bench.clock.now_ns += 3601 * S
    assert bench.ask((by_key, b"new")).allowed


def test_two_new_subjects_of_a_request_cannot_share_the_last_entry() -> None:
    """The second is refused as the table is full, and the first is not charged."""
    bench = Bench(entries=16)
    crowd = rate(1, 1, name="crowd", window_s=3600)
    table = bench.limiter.table
    for number in range(15):
        assert table.add(_digest(number), bench.clock.now_ns + 3600 * S, bench.clock.now_ns) >= 0
    by_ip = rate(5, 5, name="ip", per="ip")
    decision = bench.ask((crowd, b"one"), (crowd, b"two"))
    assert not decision.allowed
    assert decision.retry_after_ns == UNTIMED_WAIT_NS
    assert table.live_fraction(bench.clock.now_ns) == 15 / 16
    assert bench.ask((crowd, b"two"), (by_ip, b"address")).allowed
    assert not bench.ask((crowd, b"one")).allowed


class Killed(Exception):
    """The process died here."""


class DyingMemory:
    """Words whose writer dies at the n-th store from now."""

    def __init__(self, words: memoryview) -> None:
        self.words = words
        self.stores_left = -1

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, at):
        return self.words[at]

    def __setitem__(self, at, value) -> None:
        if self.stores_left == 0:
            raise Killed
        self.stores_left -= 1
        self.words[at] = value


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30 * S)), min_size=20, max_size=40),
    st.integers(0, 30),
    st.integers(1, 6),
)
@settings(max_examples=300, deadline=None)
def test_a_kill_at_any_store_forgets_and_charges_nobody_else(case, subject, stores) -> None:
    """Only the unanswered request itself may have been charged.

    The table is small, so that new subjects often take the entry of a passed one: a kill
    between two stores must not leave one subject's TAT under another's name.
    """
    bench = Bench(entries=16)
    minute, hour = rate(2, 2, name="minute"), rate(1, 1, window_s=3600, name="hour")
    for number, gap in case:
        bench.clock.now_ns += gap
        bench.ask((minute if number % 2 else hour, b"%d" % number))
    now_ns = bench.clock.now_ns
    tats = {d: t for d, t in zip(bench.words[::2], bench.words[1::2], strict=True) if t > now_ns}

    memory = DyingMemory(bench.words)
    doomed = bench.worker(0, memory)
    pairs = [(minute, b"%d" % subject), (hour, b"%d" % subject)]
    own = {doomed.check(rule, name).digest for rule, name in pairs}
    memory.stores_left = stores
    with contextlib.suppress(Killed):
        doomed.admit([doomed.check(rule, name) for rule, name in pairs])

    after = dict(zip(bench.words[::2], bench.words[1::2], strict=True))
    for digest, tat in tats.items():
        assert after[digest] >= tat
        assert digest in own or after[digest] == tat
    charged = {digest for digest, tat in after.items() if tat > now_ns and digest}
    assert charged <= tats.keys() | own
