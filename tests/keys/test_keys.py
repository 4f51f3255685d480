"""Who a request comes from, and what guessing costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import ids
from tidegate.config.snapshot import KeySnapshot
from tidegate.errors import Unauthenticated
from tidegate.keys.directory import KeyDirectory
from tidegate.keys.secrets import digest, display, new_secret
from tidegate.keys.throttle import GuessThrottle

PEPPER = b"p" * 32
SECRET = b"tg-one"


def _directory(**more: object) -> KeyDirectory:
    directory = KeyDirectory(PEPPER)
    key = KeySnapshot("key_1", "one", digest(SECRET, PEPPER), **more)  # type: ignore[arg-type]
    directory.replace((key,), 3)
    return directory


def _reason(headers: dict[bytes, bytes], **more: object) -> str:
    with pytest.raises(Unauthenticated) as caught:
        _directory(**more).authenticate(headers, 1000)
    assert "tg-one" not in str(caught.value)
    assert "tg-two" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer tg-one"},
        {b"authorization": b"bearer  tg-one"},
        {b"x-api-key": b"tg-one"},
        {b"api-key": b"tg-one"},
        {b"x-goog-api-key": b"tg-one"},
        {b"authorization": b"Bearer tg-one", b"x-api-key": b"tg-one"},
        {b"authorization": b"Bearer ", b"api-key": b"tg-one"},
    ],
)
def test_every_sdks_header_is_read(headers: dict[bytes, bytes]) -> None:
    """Bearer and the three plain headers; the same key twice is one key."""
    assert _directory().authenticate(headers, 1000).name == "one"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({b"x-api-key": "ключ".encode()}, "unknown"),
        ({b"authorization": b"Bearer " + b"x" * 10_000}, "malformed"),
        ({b"x-api-key": b"tg-one", b"x-goog-api-key": b"tg-two"}, "ambiguous"),
        ({b"authorization": b"Basic eDp5", b"x-api-key": b"tg-one"}, "malformed"),
        ({}, "missing"),
        ({b"authorization": b"Bearer "}, "missing"),
        ({b"x-api-key": b""}, "missing"),
        ({b"authorization": b"Basic dGctb25l"}, "malformed"),
        ({b"authorization": b"tg-one"}, "malformed"),
        ({b"x-api-key": b"x" * 10_000}, "malformed"),
        ({b"x-api-key": b"tg-two"}, "unknown"),
        ({b"x-api-key": b"tg-on"}, "unknown"),
        ({b"x-api-key": b"\xff\xfe"}, "unknown"),
        ({b"authorization": b"Bearer tg-one", b"x-api-key": b"tg-two"}, "ambiguous"),
    ],
)
def test_whatever_is_not_one_valid_key_is_refused_with_a_reason(
    headers: dict[bytes, bytes], reason: str
) -> None:
    """There is no empty user; the reason is a closed set."""
    assert _reason(headers) == reason


def test_an_expired_key_is_refused_from_its_very_millisecond() -> None:
    """Expiry is checked at each request, not when the table is made."""
    headers = {b"x-api-key": SECRET}
    assert _directory(expires_at_ms=1001).authenticate(headers, 1000).name == "one"
    assert _reason(headers, expires_at_ms=1000) == "expired"


def test_a_new_table_is_in_force_with_the_next_request() -> None:
    """Revoked means gone."""
    directory = _directory()
    directory.replace((), 4)
    assert directory.generation == 4
    with pytest.raises(Unauthenticated):
        directory.authenticate({b"x-api-key": SECRET}, 1000)


def test_secrets_are_long_new_and_shown_only_in_part() -> None:
    """256 bits, our prefix, and a display form that gives nothing away."""
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert secret.startswith("tg-")
        assert len(secret) >= 46
        assert len(display(secret)) <= 8
    assert digest(b"a", PEPPER) != digest(b"a", b"q" * 32)


class Clock:
    """Seconds that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_guessing_gets_one_answer_a_second_after_a_few() -> None:
    """Ten are free, then each takes the next slot, at most five seconds away."""
    throttle = GuessThrottle(clock=Clock())
    waits = [throttle.reserve("a") for _ in range(20)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:15] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert max(waits) == 5.0
    assert throttle.reserve("b") == 0.0


def test_an_address_recovers() -> None:
    """After a pause all free failures are back."""
    clock = Clock()
    throttle = GuessThrottle(clock=clock)
    for _ in range(50):
        throttle.reserve("a")
    clock.now += 16.0
    assert [throttle.reserve("a") for _ in range(10)] == [0.0] * 10


def test_a_network_of_addresses_guesses_as_one() -> None:
    """Every host of an IPv6 network has 2^64 addresses; mapped IPv4 ones are one each."""
    throttle = GuessThrottle(free=1, clock=Clock())
    assert throttle.reserve("2001:db8::1") == 0.0
    assert throttle.reserve("2001:db8:0:0:ffff::2") == 1.0
    assert throttle.reserve("2001:db8:0:1::1") == 0.0
    assert throttle.reserve("::ffff:192.0.2.1") == 0.0
    assert throttle.reserve("::ffff:192.0.2.2") == 0.0
    assert throttle.reserve("192.0.2.1") == 1.0
    assert throttle.reserve("not:an:address") == 0.0


def test_an_address_out_of_mind_is_the_one_that_failed_longest_ago() -> None:
    """An attacker who goes on guessing cannot be forgotten by adding others."""
    throttle = GuessThrottle(free=1, max_addresses=2, clock=Clock())
    for address in ("old", "busy", "busy", "new"):
        throttle.reserve(address)
    assert throttle.reserve("busy") == 2.0
    assert throttle.reserve("old") == 0.0


@given(st.lists(st.integers(0, 50), max_size=300))
def test_what_is_held_and_remembered_is_bounded(addresses: list[int]) -> None:
    """Guessing from many addresses cannot use our memory."""
    throttle = GuessThrottle(free=0, max_held=5, max_addresses=10, clock=Clock())
    held = 0
    for address in addresses:
        held += throttle.reserve(str(address)) > 0.0
        assert throttle.held == held <= 5
    for _ in range(held):
        throttle.release()
    assert throttle.held == 0


def test_request_ids_are_unique_and_in_order() -> None:
    """Ten thousand of them, sorted as they were made within a millisecond's prefix."""
    made = [ids.request_id() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert all(len(name) == 30 and name.startswith("req_") for name in made)
    assert [name[:14] for name in made] == sorted(name[:14] for name in made)
    assert ids.attempt_id(made[0], 2) == made[0] + ":2"


def test_a_forked_child_makes_ids_of_its_own() -> None:
    """At once, not only when the prepared part is renewed."""
    script = (
        "import os, sys\n"
        "from tidegate import ids\n"
        "ids.request_id()\n"
        "child = os.fork()\n"
        "os.write(1, ids.request_id().encode() + b' ')\n"
        "child and os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    parent, child = done.stdout.decode().split()
    assert parent[14:24] != child[14:24]
