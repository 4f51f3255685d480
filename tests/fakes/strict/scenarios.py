"""What the strict providers answer, in no one's wire format: the model's name chooses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Base64, because Gemini's SDK reads signatures as bytes; `+`, `/` and `=` must stay as they are.
SIGNATURE = "+/+++v9wcm9vZiBvZiB0aG91Z2h0"
INPUT_TOKENS = 40
CACHED_TOKENS = 8
OUTPUT_TOKENS = 12
REASONING_TOKENS = 5
RETRY_AFTER_S = 7
REFUSAL = "the provider does not like this picture of the weather"
TOO_MANY = "the provider is out of breath"
BROKEN = "the provider has lost its thread"
#: What the tool of a loop gives back: the model answers once it has seen it.
LOOP_RESULT = "rain, 7 degrees <r1>"


@dataclass(frozen=True)
class ToolCall:
    """A call the model makes; `pieces` is how a stream cuts its arguments."""

    id: str
    name: str
    arguments: dict[str, Any]
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """An answer. `text` is streamed in words."""

    text: str = ""
    thinking: str = ""
    calls: tuple[ToolCall, ...] = field(default=())

    @property
    def words(self) -> list[str]:
        """The text as a stream cuts it."""
        return self.text.replace(" ", " \0").split("\0") if self.text else []


OSLO = ToolCall(
    "call_oslo", "get_weather", {"city": "Oslo", "days": 2},
    ('{"ci', 'ty": "Os', 'lo", "days', '": 2}'),
)  # fmt: skip
BERGEN = ToolCall(
    "call_bergen", "get_weather", {"city": "Bergen \u2028", "days": 1},
    ('{"city": "Bergen \u2028"', ', "days": 1', "}"),
)  # fmt: skip

REPLIES = {
    "text": Reply("Grüße from a model\u2028of few words."),
    "image": Reply("One red dot."),
    "schema": Reply('{"city": "Oslo", "days": 2}'),
    "tools": Reply(calls=(OSLO, BERGEN)),
    "result": Reply("It rains in Oslo."),
    "reasoning": Reply("It will rain.", "Clouds are dark, so"),
    "loop": Reply("It rains in Oslo."),
    "amid": Reply("It will"),
}
#: What a loop begins with: each provider signs it in its own way.
LOOP = Reply(thinking="The sky tells, so", calls=(OSLO,))
#: Beside these: `error` (400), `limited` (429), `slow` (a stream that takes its time), `first` (a
#: stream that is an error) and `amid` (one that ends in an error).
SLOW = Reply("on and " * 60)


def reply_to(model: str, body: str) -> Reply:
    """Return what *model* answers to a request, given as JSON."""
    return LOOP if model == "loop" and LOOP_RESULT not in body else REPLIES[model]
