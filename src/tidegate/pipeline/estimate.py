"""Tokens of an answer whose provider did not tell them, from the bytes that passed.

The ratio of bytes to tokens is learned from each answer that does tell, for each target by
itself: languages, tokenizers and chunk sizes differ by a factor of ten between them. One
value a direction, exponentially averaged, costs 0.2 µs an answer.
"""

from __future__ import annotations

from tidegate.dialects.usage import Usage

#: Weight of one answer; the ratio follows a change within about twenty.
_WEIGHT = 0.1
#: What is assumed before the first answer that tells: English text as JSON, and the event
#: that one token usually makes.
INPUT_BYTES_PER_TOKEN = 4.5
WHOLE_BYTES_PER_TOKEN = 6.0
STREAM_BYTES_PER_TOKEN = 180.0


class TokenEstimator:
    """The learned ratios of one target."""

    __slots__ = ("_input", "_stream", "_whole")

    def __init__(self) -> None:
        self._input = INPUT_BYTES_PER_TOKEN
        self._whole = WHOLE_BYTES_PER_TOKEN
        self._stream = STREAM_BYTES_PER_TOKEN

    def learn(self, usage: Usage, request_bytes: int, answer_bytes: int, *, stream: bool) -> None:
        """Take a whole answer of known usage into the ratios."""
        if usage.input_tokens > 0:
            self._input += _WEIGHT * (request_bytes / usage.input_tokens - self._input)
        if usage.output_tokens > 0:
            ratio = answer_bytes / usage.output_tokens
            if stream:
                self._stream += _WEIGHT * (ratio - self._stream)
            else:
                self._whole += _WEIGHT * (ratio - self._whole)

    def estimate(self, request_bytes: int, answer_bytes: int, *, stream: bool) -> Usage:
        """Return the likely usage of a request and as much of its answer as has passed."""
        per_token = self._stream if stream else self._whole
        return Usage(
            input_tokens=round(request_bytes / self._input),
            output_tokens=round(answer_bytes / per_token),
        )
