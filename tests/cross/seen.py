"""What the user of an SDK sees of an answer, in the same words for all SDKs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import httpx2
from tests.fakes.strict.scenarios import LOOP_RESULT

SCENARIOS = (
    "text", "stream", "tools", "tool stream", "tool result", "image", "image url", "schema",
    "reasoning", "reasoning stream", "reasoning back", "thinking loop", "thinking loop stream",
    "error", "error stream", "error first", "error amid", "429", "429 stream", "cancel",
)  # fmt: skip
#: Scenario → what the strict providers call it.
UPSTREAM_MODEL = {
    "text": "text", "stream": "text", "tools": "tools", "tool stream": "tools",
    "tool result": "result", "image": "image", "image url": "image", "schema": "schema",
    "reasoning": "reasoning", "reasoning stream": "reasoning", "reasoning back": "reasoning",
    "thinking loop": "loop", "thinking loop stream": "loop",
    "error": "error", "error stream": "error", "error first": "first", "error amid": "amid",
    "429": "limited", "429 stream": "limited", "cancel": "slow",
}  # fmt: skip

#: Streams that are refused, or fail: what comes is read piece by piece.
FAILING_STREAMS = ("error stream", "429 stream", "error first", "error amid")

SYSTEM = "You are terse <s1>."
QUESTION = "What will the weather be <q1>?"
EARLIER = "Look it up <q0>."
RESULT = LOOP_RESULT
RED_DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHw"
    "AAAABJRU5ErkJggg=="
)  # fmt: skip
IMAGE_URL = "https://images.example/red-dot.png"
TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL_NAME = "get_weather"
TOOL_DESCRIPTION = "Tells the weather <d1>."


class Sent(NamedTuple):
    """One thing that a request says.

    Attributes:
        fact: Its name in `received`.
        path: Where the caller wrote it, as `x-tidegate-fidelity` names it.
        value: As `received` gives it when it arrived.
    """

    fact: str
    path: str
    value: Any


@dataclass
class Seen:
    """An answer, or a refusal (then `status` is set)."""

    text: str = ""
    thinking: str = ""
    signed: bool = False
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    parsed: tuple[str, int] | None = None
    status: int = 0
    error_class: str = ""
    message: str = ""
    retry_after: str = ""


def holds(opaque: str, signature: str) -> bool:
    """Whether a field that no client looks into is *signature*, or carries it."""
    if opaque == signature:
        return True
    _, _, sealed = opaque.partition(".")
    return signature.encode() in base64.urlsafe_b64decode(sealed)


class Front(Protocol):
    """One SDK, asking in its own way."""

    name: str
    last: Heard

    def ask(self, scenario: str, model: str) -> Seen:
        """Play a scenario."""

    def sent(self, scenario: str) -> list[Sent]:
        """Return what the scenario's request says."""

    def close(self) -> None:
        """Close the SDK's connections."""


class Heard:
    """Remembers the newest answer's head: the SDKs hide some of it."""

    def __init__(self) -> None:
        self.headers: httpx2.Headers = httpx2.Headers()

    def client(self) -> httpx2.Client:
        """Return an HTTP client that an SDK may use."""
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [self._hear]}
        return httpx2.Client(event_hooks=hooks, timeout=20)

    def _hear(self, response: httpx2.Response) -> None:
        self.headers = response.headers

    @property
    def losses(self) -> dict[str, str]:
        """Path → `dropped` or `approximated`."""
        text = self.headers.get("x-tidegate-fidelity", "")
        return dict(item.split(";", 1) for item in text.split(", ") if item)
