"""Token usage as every dialect reports it, in one neutral form."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one upstream answer.

    Attributes:
        input_tokens: Prompt tokens, cached ones included (OpenAI's way of counting).
        output_tokens: Completion tokens, reasoning included.
        cached_input_tokens: Part of the input that the provider served from its cache.
        cache_write_tokens: Part of the input that the provider wrote to its cache.
        reasoning_tokens: Part of the output that was not shown.
        audio_s: Seconds of sound, for models that are paid by those.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_s: float = 0.0
