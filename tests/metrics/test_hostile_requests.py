"""Whatever clients send, the page stays as large as it was, and none of their text is on it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.metrics.plain_client import PlainClient, request
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-hostile-0123456789abcdef0"
MARK = "h0stile"
FIRST, MORE = 300, 1_000
#: Series that the first hostile requests may add, whatever their number: statuses, outcomes,
#: reasons, the target `*`. Their labels are words of the program and of the configuration.
FIXED = 80

CONFIG = """
providers: {{fake: {{kind: openai-compatible, base_url: "{url}", api_key: "env:FAKE_KEY"}}}}
models: {{good: {{targets: [{{provider: fake, model: good}}]}}}}
limits: {{each: {{per: ip, requests: 100000, window: 1m}}}}
default_limits: [each]
keys: {{ci: {{secret: "env:CI_KEY", team: build}}}}
metrics: {{identity_labels: [key, team]}}
"""


def hostile_requests(chance: random.Random) -> Iterator[bytes]:
    """Yield requests that try to get a text of their own on the page, for ever."""
    chat = "/v1/chat/completions"
    number = 0
    while True:
        number += 1
        word = f"{MARK}-{number}-{chance.randrange(10**9)}"
        odd = chance.choice(
            (word, f'{word}"}} 1\\nevil{{a="', word * 50, f"{word}\u00e9\u4e2d\U0001f600")
        )
        plain = word + chance.choice(("", "%22", "%0a", "/../..", "{}", "='"))
        good = {"model": "good", "messages": [{"role": "user", "content": odd}]}
        yield request(chat, {**good, "model": odd}, key=SECRET)
        yield request(chat, {**good, "model": f"fake/{odd}"}, key=SECRET)
        yield request(chat, {**good, "model": f"fake/{word}", "stream": True}, key=SECRET)
        yield request(chat, {**good, "user": odd, "metadata": {word: odd}}, key=SECRET)
        yield request(chat, good, key=f"tg-{word}")
        yield request(f"/v1/{plain}", good, key=SECRET)
        yield request(f"/{word}/metrics?name={word}", key=SECRET, method="GET")
        yield request(f"/v1/models/{plain}", key=SECRET, method="GET")
        yield request(f"{chat}?{word}={word}", good, key=SECRET)
        yield request(
            chat, good, key=SECRET, method=f"M{chr(65 + number % 26)}{chr(65 + number % 7)}"
        )
        trace = f"{chance.getrandbits(128):032x}"
        yield request(
            chat,
            good,
            key=SECRET,
            more=f"user-agent: {word}\r\nx-request-id: {word}\r\nx-{word}: {word}\r\n"
            f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nx-forwarded-for: {word}\r\n"
            f"openai-organization: {word}\r\nidempotency-key: {word}\r\n",
        )
        yield request(chat, json.dumps(good)[:-2].encode() + word.encode(), key=SECRET)
        yield request("/v1/embeddings", {"model": odd, "input": odd}, key=SECRET)
        yield request(
            "/api/v1/chat", {"messages": [], "model_hint": odd, "model": word}, key=SECRET
        )
        yield request(chat, good, key=SECRET, more=f"host: {word}\r\n")
        yield request(chat, good, more=f"x-api-key: {word}\r\napi-key: {word}2\r\n")
        yield request(chat, good, more=f"authorization: {word} {word}\r\n")


async def send(port: int, requests: Iterator[bytes], count: int, first_address: int) -> None:
    """Send *count* of them, each from an address of its own, or guesses of keys would wait."""

    async def one(number: int, data: bytes) -> None:
        client = PlainClient(port, f"127.{1 + number // 250}.{number % 250}.7")
        answer = await client.send(data)
        await client.close()
        assert answer.status >= 200

    async def run(numbers: Iterator[int]) -> None:
        for number in numbers:
            await one(number, next(requests))

    numbers = iter(range(first_address, first_address + count))
    await asyncio.gather(*(run(numbers) for _ in range(8)))


def series_on(page: str) -> set[str]:
    """Return every series of the page: its name and labels, without its value."""
    return {line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")}


def settled_page(gateway: RunningGateway, wanted: int) -> str:
    deadline = time.monotonic() + 10
    while True:
        page = gateway.page()
        if counters(page)("tidegate_requests_total") >= wanted:
            return page
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_hostile_requests_leave_the_page_as_large_as_it_was(tmp_path: Path) -> None:
    """300 add only what closed sets allow; after them 1,000 more add not one series."""
    with OpenAIUpstream() as upstream:
        environment = {"CI_KEY": SECRET, "FAKE_KEY": KEY}
        config = CONFIG.format(url=upstream.url)
        with RunningGateway(tmp_path, config, workers=2, environment=environment) as gateway:
            good = {"model": "good", "messages": [{"role": "user", "content": "hi"}]}
            chat = request("/v1/chat/completions", good, key=SECRET)
            asyncio.run(send(gateway.port, iter([chat] * 4), 4, 0))
            before = settled_page(gateway, 4)
            requests = hostile_requests(random.Random(7))
            asyncio.run(send(gateway.port, requests, FIRST, 10))
            first = settled_page(gateway, 4 + FIRST)
            asyncio.run(send(gateway.port, requests, MORE, 10 + FIRST))
            last = settled_page(gateway, 4 + FIRST + MORE)
    added = {line for line in series_on(first) - series_on(before) if "_bucket{" not in line}
    assert len(added) <= FIXED, sorted(added)
    assert series_on(last) == series_on(first)
    for page in (first, last):
        assert MARK not in page
    total = counters(last)
    assert total("tidegate_metrics_series_dropped_total") == 0
    assert total("tidegate_requests_total") == 4 + FIRST + MORE
