"""Figures by key and team: only where asked for, beside the core families, and bounded."""

from __future__ import annotations

import pytest
from tests.metrics.moved_series import Moves, moves_between, read_series
from tests.pipeline.scene import ANSWER, PEPPER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat

from tidegate.config.snapshot import KeySnapshot, LimitSnapshot
from tidegate.keys import secrets
from tidegate.money import ModelPrice, Period, Price, Rates

PRICE = ModelPrice((Period(Price(Rates(10**9, 10**9, 10**9, 10**9, 10**9))),))
MINUTE_NS = 60_000_000_000
REQUESTS, TOKENS = "tidegate_key_requests_total", "tidegate_key_tokens_total"
COST = "tidegate_key_cost_usd_total"


def scene_with(labels: tuple[str, ...], *, limit: int = 1_000_000) -> Scene:
    scene = Scene(
        {"m": [FakeUpstream(FakeAnswer(body=ANSWER))]},
        limits=(LimitSnapshot("all", "global", "requests", limit, MINUTE_NS, limit),),
    )
    scene.gateway.state.routes["m"].targets[0].price = PRICE
    keys = [
        KeySnapshot(f"key_{name}", name, secrets.digest(f"tg-{name}".encode(), PEPPER), team=team)
        for name, team in (("ci", "build"), ("nightly", "build"), ("alone", None))
    ]
    scene.gateway.directory.replace(keys, 2)
    scene.meters.use_identities(labels)
    return scene


async def identities_after(scene: Scene, *names: str) -> Moves:
    before = read_series(scene.segment)
    for name in names:
        await scene.run(FakeExchange(body=chat(), secret=f"tg-{name}"))
    moved = moves_between(before, read_series(scene.segment))
    return {name: series for name, series in moved.items() if name.startswith("tidegate_key_")}


async def test_nothing_is_shown_by_default() -> None:
    """Names of keys may be personal data: the operator asks for them."""
    assert await identities_after(scene_with(()), "ci", "nightly") == {}


async def test_keys_and_teams_are_counted_together() -> None:
    """Requests, tokens and cost of each key under its team; a key without one has an empty team."""
    moved = await identities_after(scene_with(("key", "team")), "ci", "ci", "nightly", "alone")
    assert moved[REQUESTS] == {
        ("ci", "build", "2xx"): 2.0, ("nightly", "build", "2xx"): 1.0, ("alone", "", "2xx"): 1.0,
    }  # fmt: skip
    assert moved[TOKENS]["ci", "build", "input"] == 6.0
    assert moved[TOKENS]["ci", "build", "output"] == 4.0
    assert moved[COST]["ci", "build"] == pytest.approx(10e-6)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("team", {("", "build", "2xx"): 2.0, ("", "", "2xx"): 1.0}),
        ("key", {("ci", "", "2xx"): 1.0, ("nightly", "", "2xx"): 1.0, ("alone", "", "2xx"): 1.0}),
    ],
)
async def test_a_label_that_is_not_asked_for_stays_empty(
    label: str, expected: dict[tuple[str, ...], float]
) -> None:
    """One label alone sums over the other."""
    moved = await identities_after(scene_with((label,)), "ci", "nightly", "alone")
    assert moved[REQUESTS] == expected


async def test_a_refused_request_counts_for_its_key_and_a_guess_for_none() -> None:
    """Our 429 is the key's 4xx; what has no valid key makes no series, whatever it calls itself."""
    scene = scene_with(("key",), limit=1)
    moved = await identities_after(scene, "ci", "ci", "guess-1", "guess-2")
    assert moved[REQUESTS] == {("ci", "", "2xx"): 1.0, ("ci", "", "4xx"): 1.0}


async def test_too_many_keys_are_counted_as_other() -> None:
    """The cap holds here as everywhere, and says so."""
    scene = scene_with(("key",))
    meters = scene.meters
    meters._registry.set_max_series_per_family(10)
    digests = [secrets.digest(f"tg-k{number}".encode(), PEPPER) for number in range(40)]
    keys = [KeySnapshot(f"k{n}", f"k{n}", digest) for n, digest in enumerate(digests)]
    scene.gateway.directory.replace(keys, 3)
    before = read_series(scene.segment)
    for number in range(40):
        await scene.run(FakeExchange(body=chat(), secret=f"tg-k{number}"))
    moved = moves_between(before, read_series(scene.segment))
    assert sum(moved[REQUESTS].values()) == 40.0
    assert moved[REQUESTS]["other", "other", "other"] == 30.0
    assert len(moved[REQUESTS]) == 11
    assert moved["tidegate_metrics_series_dropped_total"][REQUESTS,] >= 30.0


async def test_a_renamed_key_is_counted_under_its_new_name() -> None:
    """From the next request on; what it had counted stays with the old name."""
    scene = scene_with(("key",))
    await identities_after(scene, "ci")
    digest = secrets.digest(b"tg-ci", PEPPER)
    scene.gateway.directory.replace((KeySnapshot("key_ci", "builder", digest),), 3)
    moved = await identities_after(scene, "ci")
    assert moved[REQUESTS] == {("builder", "", "2xx"): 1.0}
