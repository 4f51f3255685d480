"""Whoever watches sees plain requests as they see all others: rows, exemplars, addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.edge.wire import Answer
from tests.turns.stand import Connection, Provider, Stand, chat, config, request
from tests.turns.two_ways import play

MakeStand = Callable[..., Stand]
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
LIMIT = {"limits": "  few: {per: key, requests: 6, window: 1h}", "default": "few"}


async def recent(stand: Stand, is_late: bool) -> list[dict[str, Any]]:
    """Return the rows that the live view gets of a few requests."""
    connection = await stand.connect()
    for _ in range(3):
        assert (await connection.ask(chat())).status == 200
    stand.plane.recent_rows(True)
    if is_late:
        stand.plane.recent_rows(False)
        stand.plane.recent_rows(True)
    for model in ("fast", "free", "fast", "fast", "unknown"):
        await connection.ask(chat(model))
    packed = stand.plane.recent_rows(True)
    assert packed is not None
    rows: list[dict[str, Any]] = msgspec.msgpack.decode(packed)
    return rows


def timeless(row: Any) -> str:
    """Return a row without what differs each time."""
    if isinstance(row, dict):
        return repr({name: timeless(value) for name, value in row.items()})
    if isinstance(row, list):
        return repr([timeless(value) for value in row])
    if isinstance(row, str):
        return "an id" if row.startswith("req_") else row
    return type(row).__name__ if isinstance(row, float) or (row or 0) > 10**12 else repr(row)


@pytest.mark.parametrize("is_late", [False, True])
async def test_the_live_view_gets_the_rows_that_the_long_way_gives(
    make_stand: MakeStand, up: Provider, is_late: bool
) -> None:
    """Whether somebody looks from the beginning or only now, refusals included."""
    short = await recent(make_stand(config(up, **LIMIT)), is_late)  # type: ignore[arg-type]
    up.behave = up.usual
    long = await recent(
        make_stand(config(up, **LIMIT), short=False),  # type: ignore[arg-type]
        is_late,
    )
    assert len(short) == 5
    assert [timeless(row) for row in short] == [timeless(row) for row in long]


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("more", [(), (TRACEPARENT,)])
async def test_a_plain_request_becomes_an_example_of_its_bucket(
    make_stand: MakeStand, up: Provider, short: bool, more: tuple[str, ...]
) -> None:
    """By its client's trace, or else by its own id."""
    stand = make_stand(config(up), short=short)
    connection = await stand.connect()
    ids = [(await connection.ask(chat("fast", *more))).headers["x-request-id"] for _ in range(3)]
    page = await connection.ask(
        b"GET /metrics HTTP/1.1\r\nhost: a\r\naccept: application/openmetrics-text\r\n\r\n"
    )
    examples = [
        line.partition(" # ")[2]
        for line in page.body.decode().splitlines()
        if line.startswith("tidegate_request_duration_seconds_bucket") and " # " in line
    ]
    assert examples
    if more:
        assert all(f'trace_id="{TRACE}"' in example for example in examples)
    else:
        assert all(any(name in example for name in ids) for example in examples)


async def test_clients_with_one_head_have_their_own_addresses(
    make_stand: MakeStand, up: Provider
) -> None:
    """In the limits of an address, and in the log."""
    limits = "  few: {per: ip, requests: 3, window: 1h}"
    stand = make_stand(config(up, limits=limits, default="few"))
    clients = [await stand.connect(f"127.0.0.{number}") for number in (1, 2, 3)]
    statuses = []
    for _ in range(4):
        for client in clients:
            client.send(chat())
        statuses.append([(await client.answer()).status for client in clients])
    assert statuses == [[200] * 3] * 3 + [[429] * 3]
    await stand.close()
    addresses = [line["client_ip"] for line in stand.lines() if line["status"] == 200]
    assert sorted(addresses) == sorted([f"127.0.0.{number}" for number in (1, 2, 3)] * 3)


async def test_clients_behind_a_trusted_proxy_have_their_own_addresses(
    make_stand: MakeStand, up: Provider
) -> None:
    """Though they share its connection."""
    settings = {
        "limits": "  few: {per: ip, requests: 2, window: 1h}",
        "default": "few",
        "more": "server: {trusted_proxies: [127.0.0.1/32]}",
    }

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        return [
            await connection.ask(chat("fast", f"x-forwarded-for: 198.51.100.{number}"))
            for number in (1, 2, 1, 2, 1, 3, 2)
        ]

    short = await play(make_stand(config(up, **settings)), scene, up)  # type: ignore[arg-type]
    long = await play(
        make_stand(config(up, **settings), short=False),  # type: ignore[arg-type]
        scene,
        up,
    )
    assert [answer[0] for answer in short.answers] == [200, 200, 200, 200, 429, 200, 429]
    assert {line["client_ip"] for line in short.lines} == {f"198.51.100.{n}" for n in (1, 2, 3)}
    assert (short.answers, short.counted, short.rows) == (long.answers, long.counted, long.rows)


async def test_a_provider_behind_a_proxy_is_asked_with_its_whole_address(
    make_stand: MakeStand, up: Provider
) -> None:
    """As the proxy wants it, on the connection that it keeps."""
    text = config(up).replace(
        f"base_url: 'http://127.0.0.1:{up.port}/v1'",
        f"base_url: 'http://provider.test/v1', proxy: 'http://127.0.0.1:{up.port}'",
    )

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        return [await connection.ask(chat()) for _ in range(3)]

    short = await play(make_stand(text), scene, up)
    long = await play(make_stand(text, short=False), scene, up)
    assert short.tasks == 0
    assert short.asked[0][0][0].startswith(
        b"POST http://provider.test/v1/chat/completions HTTP/1.1"
    )
    assert short.asked == long.asked
    assert short.answers == long.answers


async def test_what_is_kept_for_a_head_is_never_sent_for_another(
    make_stand: MakeStand, up: Provider, claude: Provider
) -> None:
    """Headers that go on to a provider are those of the request itself."""
    stand = make_stand(config(up, claude))
    first, second = await stand.connect(), await stand.connect()
    body = {"model": "wise", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    for number in range(6):
        first.send(request("/v1/messages", body, f"anthropic-beta: beta-{number}"))
        second.send(request("/v1/messages", body))
        for client in (first, second):
            assert (await client.answer()).status == 200
    betas = [
        line.partition(b": ")[2]
        for head, _ in claude.asked
        for line in head.split(b"\r\n")
        if line.startswith(b"anthropic-beta")
    ]
    assert betas == [b"beta-%d" % number for number in range(6)]
    assert len(claude.asked) == 12
