"""All wire formats that can be translated into each other, by name."""

from __future__ import annotations

from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.openai.wire import CHAT
from tidegate.dialects.wire import Wire

WIRES: dict[str, Wire] = {wire.name: wire for wire in (CHAT, MESSAGES, GENERATE)}
