"""All wire formats that can be translated into each other, by name."""

from __future__ import annotations

from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.dialects.bedrock.wire import CONVERSE
from tidegate.dialects.cohere.wire import COHERE
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.openai.wire import CHAT
from tidegate.dialects.responses.wire import RESPONSES_WIRE
from tidegate.dialects.wire import Back, Wire

WIRES: dict[str, Wire] = {wire.name: wire for wire in (CHAT, RESPONSES_WIRE, MESSAGES, GENERATE)}

BACKS: dict[str, Back] = {**WIRES, CONVERSE.name: CONVERSE, COHERE.name: COHERE}
"""All that a target may speak."""
