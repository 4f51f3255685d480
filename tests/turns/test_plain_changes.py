"""What is remembered of plain requests grants nothing: the next one is decided by what holds now.

Every test asks often enough before the change for anything that can be remembered to be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest
from tests.turns.stand import (
    OTHER_SECRET,
    Connection,
    Gate,
    Provider,
    Stand,
    chat,
    config,
    until,
)

from tidegate.config.snapshot import KeySnapshot

MakeStand = Callable[..., Stand]


async def known(stand: Stand, data: bytes = b"") -> Connection:
    """Return a connection whose plain requests are known by now: the last needed no task."""
    connection = await stand.connect()
    for _ in range(4):
        tasks = stand.tasks
        assert (await connection.ask(data or chat())).status == 200
    assert stand.tasks == tasks
    return connection


def changed(keys: tuple[KeySnapshot, ...], **fields: object) -> tuple[KeySnapshot, ...]:
    """Return *keys* with another `ci`."""
    return tuple(msgspec.structs.replace(k, **fields) if k.name == "ci" else k for k in keys)


# Keys


async def test_a_revoked_key_is_refused_at_its_next_request(
    make_stand: MakeStand, up: Provider
) -> None:
    """On the connection that it used, and on any other; another key stays good."""
    stand = make_stand(config(up))
    connection = await known(stand)
    asked = len(up.asked)
    stand.set_keys(tuple(key for key in stand.keys if key.name != "ci"))
    answer = await connection.ask(chat())
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert (await (await stand.connect()).ask(chat())).status == 401
    assert len(up.asked) == asked
    assert (await connection.ask(chat(secret=OTHER_SECRET))).status == 200
    page = await stand.page()
    assert page['tidegate_auth_failures_total{reason="unknown"}'] == 2


async def test_a_key_that_comes_back_is_good_again(make_stand: MakeStand, up: Provider) -> None:
    """Under its new id, which the ledger shows from then on."""
    stand = make_stand(config(up))
    connection = await known(stand)
    stand.set_keys(())
    assert (await connection.ask(chat())).status == 401
    stand.set_keys(changed(stand.keys, id="cfg_again"))
    assert (await connection.ask(chat())).status == 200
    assert (await connection.ask(chat())).status == 200
    await stand.close()
    assert [row["key_id"] for row in stand.rows()] == ["cfg_ci"] * 4 + ["cfg_again"] * 2


async def test_a_key_that_may_ask_fewer_models_is_refused_the_others(
    make_stand: MakeStand, up: Provider
) -> None:
    """404 in the words for a model that does not exist."""
    stand = make_stand(config(up))
    connection = await known(stand)
    stand.set_keys(changed(stand.keys, models=("same-up",)))
    answer = await connection.ask(chat())
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert (await connection.ask(chat("same-up"))).status == 200


async def test_a_key_that_gets_a_limit_has_it_from_the_next_request_on(
    make_stand: MakeStand, up: Provider
) -> None:
    """And one that loses it is free again."""
    stand = make_stand(config(up, limits="  few: {per: key, requests: 1, window: 1h}"))
    connection = await known(stand)
    stand.set_keys(changed(stand.keys, limits=("few",)))
    assert [(await connection.ask(chat())).status for _ in range(3)] == [200, 429, 429]
    stand.set_keys(stand.keys)
    assert [(await connection.ask(chat())).status for _ in range(2)] == [200, 200]


async def test_a_key_with_a_limit_that_is_gone_is_refused(
    make_stand: MakeStand, up: Provider
) -> None:
    """A key that silently lost its limit could spend without end."""
    stand = make_stand(config(up))
    connection = await known(stand)
    stand.set_keys(changed(stand.keys, limits=("gone",)))
    assert (await connection.ask(chat())).status == 403


async def test_a_key_is_good_until_it_expires_and_not_a_moment_longer(
    make_stand: MakeStand, up: Provider
) -> None:
    """No change of tables is needed for that."""
    stand = make_stand(config(up))
    ends_ms = time.time_ns() // 1_000_000 + 1_500
    stand.set_keys(changed(stand.keys, expires_at_ms=ends_ms))
    connection = await known(stand)
    assert time.time_ns() // 1_000_000 < ends_ms
    asked = len(up.asked)
    while time.time_ns() // 1_000_000 < ends_ms:
        await asyncio.sleep(0.01)
    assert (await connection.ask(chat())).status == 401
    assert len(up.asked) == asked
    page = await stand.page()
    assert page['tidegate_auth_failures_total{reason="expired"}'] == 1


async def test_the_name_and_team_of_a_key_are_those_of_now(
    make_stand: MakeStand, up: Provider
) -> None:
    """The log names a key as it is called when it asks."""
    stand = make_stand(config(up))
    connection = await known(stand)
    stand.set_keys(changed(stand.keys, name="renamed", team=None))
    assert (await connection.ask(chat())).status == 200
    await stand.close()
    lines = stand.lines()
    assert (lines[-2]["key"], lines[-2]["team"]) == ("ci", "build")
    assert (lines[-1]["key"], "team" in lines[-1]) == ("renamed", False)


# Configuration


async def test_a_model_that_is_routed_elsewhere_is_asked_there_at_once(
    make_stand: MakeStand, up: Provider, claude: Provider
) -> None:
    """Under its new name, and in the new provider's dialect."""
    stand = make_stand(config(up, claude))
    connection = await known(stand)
    asked = len(up.asked)
    text = config(up, claude)
    stand.reload(text.replace("[up/fast-up]", "[up/faster-up]"))
    assert (await connection.ask(chat())).status == 200
    assert b'"faster-up"' in up.asked[-1][1]
    stand.reload(text.replace("[up/fast-up]", "[claude/wise-up]"))
    for _ in range(3):
        answer = await connection.ask(chat())
        assert (answer.status, answer.headers["x-tidegate-provider"]) == (200, "claude")
    assert (len(up.asked), len(claude.asked)) == (asked + 1, 3)
    assert b'"wise-up"' in claude.asked[-1][1]


async def test_a_target_that_is_taken_out_is_not_asked_again(
    make_stand: MakeStand, up: Provider, claude: Provider
) -> None:
    """Whichever of two targets stays gets all that comes."""
    models = "  both: {targets: [up/one-up, {provider: claude, model: two-up}], retries: 0}"
    text = config(up, claude, models=models)
    stand = make_stand(text)
    assert (await (await stand.connect()).ask(chat("wise"))).status == 200
    connection = await known(stand)
    for _ in range(40):
        assert (await connection.ask(chat("both"))).status == 200
    assert up.asked
    assert claude.asked
    stand.reload(text.replace("{provider: claude, model: two-up}", "up/three-up"))
    asked = len(claude.asked)
    for _ in range(20):
        assert (await connection.ask(chat("both"))).status == 200
    assert len(claude.asked) == asked
    assert {body.partition(b",")[0] for _, body in up.asked[-20:]} == {
        b'{"model":"one-up"',
        b'{"model":"three-up"',
    }


async def test_targets_of_one_name_share_its_requests_by_weight(
    make_stand: MakeStand, up: Provider
) -> None:
    """What is remembered of the one is never taken for the other."""
    models = (
        "  both: {targets: [{provider: up, model: one-up, weight: 3},"
        " {provider: up, model: two-up}], retries: 0}"
    )
    stand = make_stand(config(up, models=models))
    connection = await known(stand, chat("both"))
    up.asked.clear()
    for _ in range(400):
        assert (await connection.ask(chat("both"))).status == 200
    await stand.close()
    sent = [b'"one-up"' in body for _, body in up.asked]
    assert 240 < sum(sent) < 360  # six standard deviations and more
    assert [row["target_model"] == "one-up" for row in stand.rows()[4:]].count(True) == sum(sent)


async def test_a_model_that_is_gone_is_unknown(make_stand: MakeStand, up: Provider) -> None:
    """And known again when it comes back."""
    text = config(up)
    stand = make_stand(text)
    connection = await known(stand)
    stand.reload(text.replace("  fast:", "  slow:"))
    assert (await connection.ask(chat())).status == 404
    assert (await connection.ask(chat("slow"))).status == 200
    stand.reload(text)
    assert (await connection.ask(chat())).status == 200


async def test_a_credential_that_is_changed_is_sent_with_the_next_request(
    make_stand: MakeStand, up: Provider
) -> None:
    """On a connection of its own; the old one carries nothing any more."""
    text = config(up)
    stand = make_stand(text)
    connection = await known(stand)
    stand.reload(text.replace("env:UP_KEY", "env:OTHER_KEY"))
    assert (await connection.ask(chat())).status == 200
    assert OTHER_SECRET.encode() in up.asked[-1][0]
    assert up.connections == 2


@pytest.mark.parametrize("limit", ["key", "global", "ip", "model"])
async def test_a_limit_that_is_put_in_force_counts_from_the_next_request_on(
    make_stand: MakeStand, up: Provider, limit: str
) -> None:
    """Of whatever kind; and one that is taken out refuses nothing any more."""
    stand = make_stand(config(up))
    connection = await known(stand)
    limits = f"  few: {{per: {limit}, requests: 2, window: 1h}}"
    stand.reload(config(up, limits=limits, default="few"))
    statuses = [(await connection.ask(chat())).status for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    stand.reload(config(up))
    answer = await connection.ask(chat())
    assert answer.status == 200
    assert "ratelimit" not in answer.headers


async def test_a_limit_that_becomes_a_shadow_refuses_nothing(
    make_stand: MakeStand, up: Provider
) -> None:
    """It is counted as what it is from then on."""
    limits = "  few: {per: key, requests: 5, window: 1h}"
    text = config(up, limits=limits, default="few")
    stand = make_stand(text)
    connection = await known(stand)
    assert (await connection.ask(chat())).status == 200
    assert (await connection.ask(chat())).status == 429
    stand.reload(text.replace("window: 1h}", "window: 1h, mode: shadow}"))
    assert [(await connection.ask(chat())).status for _ in range(2)] == [200, 200]
    page = await stand.page()
    assert page['tidegate_rate_limit_decisions_total{limit="few",decision="shadow"}'] == 2


async def test_prices_and_generation_are_those_of_the_configuration_in_force(
    make_stand: MakeStand, up: Provider
) -> None:
    """Log and ledger say under which configuration a request was served."""
    text = config(up)
    stand = make_stand(text)
    connection = await known(stand)
    stand.reload(text.replace("fast-up", "unpriced"))
    assert (await connection.ask(chat())).status == 200
    await stand.close()
    assert [row["cost_nano_usd"] for row in stand.rows()][-2:] == [90_000, None]
    assert [line["generation"] for line in stand.lines()][-2:] == [1, 2]


async def test_what_is_in_the_air_at_a_reload_ends_as_it_began(
    make_stand: MakeStand, up: Provider
) -> None:
    """Its row and its log line name the configuration that it was admitted under."""
    text = config(up)
    stand = make_stand(text)
    connection = await known(stand)
    up.behave = gate = Gate()
    connection.send(chat())
    await until(lambda: gate.waiting == 1)
    stand.reload(text.replace("  fast:", "  slow:").replace("env:UP_KEY", "env:OTHER_KEY"))
    gate.open()
    assert (await connection.answer()).status == 200
    assert (await connection.ask(chat())).status == 404
    await stand.close()
    line = stand.lines()[-2]
    assert (line["generation"], line["model"], line["status"]) == (1, "fast", 200)
    assert stand.rows()[-1]["outcome"] == "ok"


async def test_identity_labels_count_from_the_reload_on(
    make_stand: MakeStand, up: Provider
) -> None:
    """The requests of a key are counted for it as soon as that is asked for."""
    stand = make_stand(config(up))
    connection = await known(stand)
    stand.reload(config(up, more="metrics: {identity_labels: [key]}"))
    for _ in range(3):
        assert (await connection.ask(chat())).status == 200
    page = await stand.page()
    counted = {name: value for name, value in page.items() if 'key="ci"' in name}
    assert 3 in counted.values()


# Clients choose heads and names, so there is an end to what is remembered


async def test_more_models_than_are_remembered_are_served_all_the_same(
    make_stand: MakeStand, up: Provider
) -> None:
    """A client that names ever new models of a provider gets each of them."""
    stand = make_stand(config(up))
    connection = await known(stand)
    up.asked.clear()
    names = [f"up/model-{number}" for number in range(50)]
    for name in names * 2:
        assert (await connection.ask(chat(name))).status == 200
    sent = [body for _, body in up.asked]
    assert all(b'"model-%d"' % (at % 50) in body for at, body in enumerate(sent))
    await stand.close()
    assert len(stand.rows()) == 104
    assert {row["target_model"] for row in stand.rows()} >= {name[3:] for name in names}


async def test_keys_that_share_a_connection_are_told_apart(
    make_stand: MakeStand, up: Provider
) -> None:
    """A head that differs in its key alone is another head."""
    limits = "  few: {per: key, requests: 3, window: 1h}"
    stand = make_stand(config(up, limits=limits, default="few"))
    connection = await stand.connect()
    statuses = []
    for _ in range(5):
        statuses.append((await connection.ask(chat())).status)
        statuses.append((await connection.ask(chat(secret=OTHER_SECRET))).status)
    assert statuses == [200] * 6 + [429] * 4
    await stand.close()
    assert [row["key_id"] for row in stand.rows()] == ["cfg_ci", "cfg_other"] * 3
