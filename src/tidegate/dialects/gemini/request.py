"""A request whose path names the model; its body goes to a target of this dialect as it is."""

from __future__ import annotations

import re

import msgspec

from tidegate.dialects.neutral import NeutralRequest

_COUNT = re.compile(rb'"candidate_?[cC]ount"\s*:\s*([0-9]{1,3})\b')


class PathRequest:
    """See `pipeline.attempt.Request`.

    Attributes:
        body: The caller's bytes.
        model: Name out of the path.
        neutral: The request in neutral form, once a target has needed it.
    """

    __slots__ = ("body", "model", "neutral")

    def __init__(self, body: bytes, model: str) -> None:
        self.body = body
        self.model = model
        self.neutral: NeutralRequest | None = None

    def body_for(self, model: str, raw_model: msgspec.Raw, force_usage: bool) -> bytes:
        """Return the caller's bytes: the model's name goes into the path."""
        return self.body

    @property
    def choices(self) -> int:
        """How many alternatives a stream will hold."""
        found = _COUNT.search(self.body)
        return max(1, int(found[1])) if found is not None else 1
