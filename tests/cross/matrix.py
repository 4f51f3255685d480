"""The cross matrix: each SDK against each provider, one scenario a cell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tests.cross import seen as w
from tests.cross.front_anthropic import AnthropicFront
from tests.cross.front_gemini import GeminiFront
from tests.cross.front_openai import OpenAIFront
from tests.cross.front_responses import ResponsesFront
from tests.cross.received import facts_of
from tests.fakes.strict import scenarios as s
from tests.fakes.strict.server import StrictUpstream
from tests.fakes.strict.wire import KEY
from tests.running import RunningGateway

SECRET = "tg-cross-matrix-0123456789"
FRONTS = ("openai", "responses", "anthropic", "gemini")
BACKS = ("openai", "responses", "anthropic", "gemini", "bedrock", "cohere")
_FRONT_TYPES: tuple[Callable[[str, str], w.Front], ...] = (
    OpenAIFront, ResponsesFront, AnthropicFront, GeminiFront,
)  # fmt: skip
_PROVIDERS = {
    "openai": "kind: openai, dialects: [openai], base_url: '{url}/openai/v1'",
    "responses": "kind: openai, dialects: [responses], base_url: '{url}/responses/v1'",
    "anthropic": "kind: anthropic, base_url: '{url}/anthropic'",
    "gemini": "kind: gemini, base_url: '{url}/gemini/v1beta'",
    "bedrock": "kind: bedrock, base_url: '{url}/bedrock', aws: {{region: eu-north-1}}",
    "cohere": "kind: cohere, base_url: '{url}/cohere'",
}
#: What no scenario's answer can say in a dialect is named as one of these.
_ANSWER_PATHS = {
    "thinking": {
        "openai": "choices[].message.reasoning_content",
        "responses": "output[].summary",
        "anthropic": "content[].thinking",
        "gemini": "candidates[].content.parts[].thought",
    },
    "signature": {
        "openai": "choices[].message.reasoning_details",
        "responses": "output[].encrypted_content",
        "anthropic": "content[].signature",
        "gemini": "candidates[].content.parts[].thoughtSignature",
    },
}
#: What any provider can be told; an answer to anything less is no answer.
ESSENTIAL = {
    "system", "question", "max_tokens", "temperature", "tools", "tool_schema", "call",
    "result", "image",
}  # fmt: skip
#: Facts whose path is that of other things too, which may well be lost.
AMONG_OTHERS = {"signature", "call", "result"}
#: Providers that sign no thinking.
UNSIGNED = ("openai", "cohere")
_CANCELLED_WITHIN_S = 2.0
#: What SDKs raise for a status of 5xx.
_SERVER_ERRORS = (
    "InternalServerError",
    "OverloadedError",
    "ServiceUnavailableError",
    "ServerError",
)


def model_name(back: str, upstream_model: str) -> str:
    """Return the name under which the gateway offers a provider's model."""
    return f"{back}-{upstream_model}"


def config(url: str, more: str = "") -> str:
    """Return a gateway's configuration for all providers behind *url*."""
    providers = "\n".join(
        f"  {name}: {{{row.format(url=url)}, api_key: env:STRICT_KEY}}"
        for name, row in _PROVIDERS.items()
    )
    models = "\n".join(
        f"  {model_name(back, model)}: "
        f"{{targets: [{{provider: {back}, model: {model}}}], retries: 0}}"
        for back in BACKS
        for model in dict.fromkeys(w.UPSTREAM_MODEL.values())
    )
    return f"""
providers:
{providers}
models:
{models}
  priced: {{targets: [{{provider: openai, model: gpt-4o}}]}}
limits:
  wide: {{per: key, requests: 1000000, window: 1m}}
keys:
  cross: {{secret: env:CROSS_KEY, limits: [wide]}}
{more}"""


@contextmanager
def running(folder: Path, more: str = "") -> Iterator[tuple[StrictUpstream, RunningGateway]]:
    """Start the strict providers and a gateway before them."""
    with StrictUpstream() as upstream:
        environment = {"STRICT_KEY": KEY, "CROSS_KEY": SECRET}
        with RunningGateway(folder, config(upstream.url, more), environment=environment) as gateway:
            yield upstream, gateway


@dataclass(frozen=True)
class Cell:
    """What one scenario came to.

    Attributes:
        losses: Path → `dropped` or `approximated`, of requests and answers.
        refused: The gateway's own words where it refused clearly.
    """

    losses: tuple[tuple[str, str], ...] = ()
    refused: str = ""


class Matrix:
    """Plays cells."""

    def __init__(self, upstream: StrictUpstream, gateway: RunningGateway) -> None:
        self._upstream = upstream
        self._gateway = gateway
        self._cells: dict[tuple[str, str, str], Cell] = {}
        self._fronts = {front.name: front for front in (
            make(gateway.url, SECRET) for make in _FRONT_TYPES
        )}  # fmt: skip

    def close(self) -> None:
        """Close all SDKs."""
        for front in self._fronts.values():
            front.close()

    def play_all(self) -> dict[tuple[str, str, str], Cell]:
        """Play every cell that was not played yet; return all of them."""
        for place in product(FRONTS, BACKS, w.SCENARIOS):
            if place not in self._cells:
                self.play(*place)
        return self._cells

    def play(self, name: str, back: str, scenario: str) -> Cell:
        """Play one cell, asserting all that its user may count on."""
        cell = self._cells[name, back, scenario] = self._play(name, back, scenario)
        return cell

    def _play(self, name: str, back: str, scenario: str) -> Cell:
        front = self._fronts[name]
        upstream_model = w.UPSTREAM_MODEL[scenario]
        self._upstream.refused.clear()
        broken = self._upstream.broken[back]
        self._upstream.last.pop((back, upstream_model), None)
        seen = front.ask(scenario, model_name(back, upstream_model))
        assert self._upstream.refused == [], "the provider refused what the gateway made"
        received = self._upstream.last.get((back, upstream_model))
        if received is None:
            assert seen.status == 400, seen
            assert seen.message
            return Cell(refused=seen.message)
        losses = self._losses(front, scenario)
        check_request(front, back, scenario, received.body, losses)
        if scenario.startswith(("error", "429")):
            check_failure(name, back, scenario, seen)
        elif scenario == "cancel":
            assert seen.text.startswith("on and on")
            deadline = time.monotonic() + _CANCELLED_WITHIN_S
            while self._upstream.broken[back] == broken:
                assert time.monotonic() < deadline, "the upstream was not told of the cancellation"
                time.sleep(0.005)
        else:
            check_answer(name, back, scenario, seen, losses)
        return Cell(tuple(sorted(losses.items())))

    def _losses(self, front: w.Front, scenario: str) -> dict[str, str]:
        """Return what was named: in the header, and of a stream's answer in the log."""
        losses = front.last.losses
        if "stream" in scenario:
            losses |= self._logged(front.last.headers["x-request-id"], front.name)
        return losses

    def _logged(self, request_id: str, name: str) -> dict[str, str]:
        for line in reversed(self._gateway.log.read_text().splitlines()):
            if request_id in line and "translation lost something" in line:
                lost = json.loads(line)["lost"]
                found = dict(item.rsplit(" ", 1) for item in lost)
                return {
                    _ANSWER_PATHS[feature.removeprefix("answer.")][name]: kind
                    for feature, kind in found.items()
                    if feature in ("answer.thinking", "answer.signature")
                }
        return {}


def is_named(path: str, losses: dict[str, str]) -> str | None:
    """Return how the loss of a field, or of what it stands in, was named; None if it was not."""
    return next(
        (
            kind
            for named, kind in losses.items()
            if path == named or path.startswith((f"{named}.", f"{named}["))
        ),
        None,
    )


def check_request(
    front: w.Front, back: str, scenario: str, body: dict[str, object], losses: dict[str, str]
) -> None:
    """Assert that the provider received all that was sent, or that it is named."""
    found = facts_of(back, body)
    for sent in front.sent(scenario):
        if sent.fact == "signature" and back in UNSIGNED:
            continue
        arrived = found.get(sent.fact) == sent.value
        assert arrived or not scenario.startswith("thinking loop"), (sent, found.get(sent.fact))
        kind = is_named(sent.path, losses)
        told = f"{sent.path}: sent {sent.value!r}, arrived {found.get(sent.fact)!r}, named {losses}"
        assert arrived or kind is not None, f"lost in silence: {told}"
        assert arrived or sent.fact not in ESSENTIAL, f"no answer without it: {told}"
        if sent.fact not in AMONG_OTHERS:
            assert not (arrived and losses.get(sent.path) == "dropped"), f"not lost: {told}"


def check_failure(name: str, back: str, scenario: str, seen: w.Seen) -> None:
    """Assert that the SDK raises what it has for a provider's failure, in the provider's words.

    Until the first piece of an answer there is a status of its own, even where the provider sent
    200 and an error after it; from then on the stream ends in an error.
    """
    if scenario == "error amid":
        assert seen.text == s.REPLIES["amid"].text
        assert seen.error_class, "the SDK took half an answer for a whole one"
        assert s.BROKEN in seen.message
    elif scenario == "error first":
        assert seen.status >= 500, seen
        assert seen.error_class in _SERVER_ERRORS
        assert seen.text == ""
    else:
        check_refusal(name, scenario.removesuffix(" stream"), seen)


def check_refusal(name: str, scenario: str, seen: w.Seen) -> None:
    """Assert that the provider's refusal came as the SDK's own exception, in its words."""
    status = 400 if scenario == "error" else 429
    assert seen.status == status
    assert (s.REFUSAL if scenario == "error" else s.TOO_MANY) in seen.message
    classes = {400: "BadRequestError", 429: "RateLimitError"}
    assert seen.error_class == ("ClientError" if name == "gemini" else classes[status])
    if scenario == "429":
        assert seen.retry_after == str(s.RETRY_AFTER_S)


def check_answer(name: str, back: str, scenario: str, seen: w.Seen, losses: dict[str, str]) -> None:
    """Assert that the SDK's user has the whole answer, or that what is missing is named."""
    reply = s.REPLIES[w.UPSTREAM_MODEL[scenario]]
    assert seen.status == 0, seen
    assert seen.text == reply.text
    assert seen.calls == [(call.name, call.arguments) for call in reply.calls]
    assert seen.finish == ("tool_use" if reply.calls else "stop")
    assert (seen.input_tokens, seen.output_tokens) == (s.INPUT_TOKENS, s.OUTPUT_TOKENS)
    assert seen.cached_tokens == s.CACHED_TOKENS
    if scenario == "schema":
        assert seen.parsed == ("Oslo", 2)
    shows, signs = back != "openai", back not in UNSIGNED
    if shows and seen.thinking != reply.thinking:
        assert is_named(_ANSWER_PATHS["thinking"][name], losses), (seen.thinking, losses)
    if signs and reply.thinking and not seen.signed:
        assert is_named(_ANSWER_PATHS["signature"][name], losses) or (
            is_named(_ANSWER_PATHS["thinking"][name], losses)
        ), losses
