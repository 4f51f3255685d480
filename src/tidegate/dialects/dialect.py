"""What a dialect offers to the pipeline: pure functions, no state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Dialect:
    """The shapes in which one family of clients expects what is not the model's own answer.

    Attributes:
        name: Stable name, such as `openai`.
        error_body: Error → JSON body.
        error_event: Error → last event of a stream that was cut.
        retry_headers: Error → header lines that steer the client's retry.
        limit_headers: Limit states → header lines; on 200s, 429s and streams.
    """

    name: str
    error_body: Callable[[GatewayError], bytes]
    error_event: Callable[[GatewayError], bytes]
    retry_headers: Callable[[GatewayError], bytes]
    limit_headers: Callable[[Sequence[Any]], bytes]
