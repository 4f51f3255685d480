"""What each strict provider is to the server that plays them all."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.fakes.strict.scenarios import Reply

KEY = "provider-secret-strict"


@dataclass(frozen=True)
class Asked:
    """What a path and a body say of a request."""

    model: str
    stream: bool


class StrictWire(Protocol):
    """One provider: what it refuses, and how it writes what it answers."""

    name: str
    stream_type: str

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Return what is asked; None for a path that the provider does not have."""

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and the words of a refusal that the headers deserve."""

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Return what is wrong with a body."""

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Return header lines and body of a refusal."""

    def whole(self, reply: Reply, asked: Asked) -> dict[str, Any]:
        """Return a whole answer."""

    def head(self, asked: Asked) -> list[bytes]:
        """Return the events that open a stream."""

    def content(self, reply: Reply) -> Iterator[bytes]:
        """Yield the events of an answer's content."""

    def tail(self, reply: Reply, body: dict[str, Any]) -> list[bytes]:
        """Return the events that end a stream."""


def is_base64(text: str) -> bool:
    """Whether *text* is base64 in the usual alphabet, padded, and of something."""
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def dumps(value: object) -> str:
    """Write JSON as most providers do."""
    return json.dumps(value, ensure_ascii=False)


def data_event(value: object, name: str = "") -> bytes:
    """Return one server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {dumps(value)}\n\n".encode()


def bearer_problem(headers: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the refusal of a request whose bearer token is not the provider's."""
    if headers.get("authorization") != f"Bearer {KEY}":
        return 401, "invalid credential"
    return None
