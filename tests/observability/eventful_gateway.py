"""A gateway to which everything happens that its metrics tell of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.free_ports import free_port
from tests.metrics.plain_client import PlainClient, request
from tests.running import RunningGateway

SECRET, LIMITED = "tg-events-0123456789abcdef01", "tg-limited-0123456789abcdef"
#: More models than a family may have series, so that the cap is met.
CAP = 20
FILLERS = [f"filler{number}" for number in range(CAP + 1)]

_CONFIG = """
providers:
  fake: {{kind: openai-compatible, base_url: "{url}", api_key: "env:FAKE_KEY"}}
  gone: {{kind: openai-compatible, base_url: "http://127.0.0.1:{closed}/v1", api_key: "env:FAKE_KEY"}}
models:
  good: {{targets: [{{provider: fake, model: good}}]}}
  unpriced: {{targets: [{{provider: fake, model: unpriced}}]}}
  fails: {{targets: [{{provider: fake, model: fails}}], retries: 0}}
  limited: {{targets: [{{provider: fake, model: limited}}], retries: 0}}
  gone: {{targets: [{{provider: gone, model: x}}], retries: 0}}
  cuts: {{targets: [{{provider: fake, model: cuts}}]}}
  slow: {{targets: [{{provider: fake, model: slow}}]}}
  recovers: {{targets: [{{provider: fake, model: recovers}}], retries: 1}}
  falls: {{targets: [{{provider: fake, model: fails}}], retries: 0, fallbacks: [good]}}
{fillers}
limits:
  few: {{per: key, requests: 3, window: 1h}}
  trial: {{per: key, requests: 1, window: 1h, mode: shadow}}
keys:
  ci: {{secret: "env:CI_KEY", team: build}}
  tight: {{secret: "env:TIGHT_KEY", limits: [few, trial]}}
metrics: {{identity_labels: [key, team], max_series_per_family: {cap}}}
ledger: {{prices: "{prices}"}}
"""  # noqa: E501 (a line of YAML each)
_PRICED = ("good", "slow", "cuts", "recovers")


class QuotaUpstream(OpenAIUpstream):
    """A provider that tells what is left of its own limits in every whole answer."""

    async def _answer(
        self, path: str, headers: dict[str, str], raw: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        return await super()._answer(path, headers, raw, _QuotaWriter(writer))  # type: ignore[arg-type]


class _QuotaWriter:
    """Adds the headers to a head on its way out."""

    _HEADERS = b"x-ratelimit-remaining-requests: 59\r\nx-ratelimit-limit-requests: 60\r\n"

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 200"):
            line, rest = data.split(b"\r\n", 1)
            data = line + b"\r\n" + self._HEADERS + rest
        self._writer.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def eventful_gateway(folder: Path, upstream: OpenAIUpstream) -> RunningGateway:
    """Return a gateway, not started yet, for which each outcome has a model."""
    folder.mkdir()
    prices = folder / "prices.yaml"
    prices.write_text(
        "prices:\n"
        + "".join(
            f"  - {{provider: fake, model: {model}, input: 1000, output: 2000}}\n"
            for model in _PRICED
        )
    )
    fillers = "\n".join(
        f"  {name}: {{targets: [{{provider: fake, model: {name}}}]}}" for name in FILLERS
    )
    return RunningGateway(
        folder,
        _CONFIG.format(
            url=upstream.url, closed=free_port(), prices=prices, fillers=fillers, cap=CAP
        ),
        workers=2,
        environment={"FAKE_KEY": KEY, "CI_KEY": SECRET, "TIGHT_KEY": LIMITED},
    )


async def play(port: int) -> dict[int, int]:
    """Let each thing happen once or a few times, and return how many answers had which status."""
    client = PlainClient(port)
    statuses: dict[int, int] = {}
    for data in _requests():
        answer = await client.send(data)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    two_hosts = request("/v1/models", key=SECRET, method="GET", more="host: other\r\n")
    answer = await client.send(two_hosts)
    statuses[answer.status] = statuses.get(answer.status, 0) + 1
    await client.close()
    await client.leave_after(_chat("slow", stream=True), b"one ")
    return statuses


def _requests() -> list[bytes]:
    requests = [_chat("good") for _ in range(40)]
    requests += [_chat("good", stream=True) for _ in range(5)]
    requests += [_chat("unpriced"), _chat("recovers"), _chat("falls"), _chat("cuts", stream=True)]
    requests += [_chat("fails"), _chat("limited"), _chat("gone"), _chat("nobody")]
    requests += [_chat("good", key=LIMITED) for _ in range(5)]
    requests += [_chat("good", key=None), _chat("good", key="tg-guess")]
    requests += [request("/v1/embeddings", {"model": "good", "input": "hi"}, key=SECRET)]
    # `top_k` has no place in the provider's format: lost in translation.
    message = {
        "model": "good",
        "max_tokens": 9,
        "top_k": 5,
        "messages": [{"role": "user", "content": "hi"}],
    }
    requests.append(request("/v1/messages", message, key=SECRET))
    # Last: they use up the room that the others need.
    return [*requests, *(_chat(name) for name in FILLERS)]


def _chat(model: str, *, key: str | None = SECRET, **more: object) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return request("/v1/chat/completions", {"model": model, "messages": messages, **more}, key=key)
