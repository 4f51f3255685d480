"""Text Generation Inference.

It has one model; whatever name is sent, that one answers.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="tgi",
    title="Text Generation Inference",
    base_url="http://localhost:3000/v1",
    docs_url="https://huggingface.co/docs/text-generation-inference/messages_api",
    checked_on="2026-12-01",
    checked_in="source of January 2026",
    key_required=False,
    capabilities=("chat", "completions"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
