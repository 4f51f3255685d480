"""Reasoning state of one provider, on its way through a client that speaks another's dialect.

Providers want to see their own state again: Anthropic the signature of its thinking, Gemini the
signature of a call, OpenAI its encrypted reasoning. A caller of another dialect keeps it in the
opaque field that its own dialect has, where it stands in an envelope:

    tg1.<base64url of {"kind": "signature", "origin": "gemini", "value": "…"}>

It is opened on the way back. A target of the origin's dialect gets the value byte for byte; at
any other it is left out and named. No provider's own state can be taken for one: they are
base64, which has no dot, and where the field is base64 itself (Gemini's), the bytes would have to
begin with `tg1.` and go on as this very JSON. What only begins like one is no one's state: it is
left out and named too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import Part, Thinking, ToolUse
from tidegate.dialects.unreadable import UNREADABLE

#: `1` is the version: another form gets another number, and older gateways name it as lost.
_MARK = "tg1."
_MARK_BYTES = _MARK.encode()
#: How base64 of bytes that begin with the mark begins.
_MARK_BASE64 = "dGcxL"

#: As it begins in the JSON of a request, for a look at a body that passes through.
TEXT_SIGN = b'"' + _MARK_BYTES
BASE64_SIGN = b'"' + _MARK_BASE64.encode()

#: A longer one is broken: encrypted reasoning is some 100 KiB at its largest.
MAX_SEALED_CHARS = 8 * 1024 * 1024

#: The only provider that hangs state on calls.
CALL_ORIGIN = "gemini"


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of another provider.

    Attributes:
        kind: `signature` of readable thinking, `redacted` thinking, or the state of a `call`.
        value: The state, as the provider gave it; empty for thinking that it did not sign.
        origin: Dialect of the provider; empty where unknown.
        call_id: The call that the state belongs to.
    """

    kind: Literal["signature", "redacted", "call"]
    value: str = ""
    origin: str = ""
    call_id: str = ""


_decode = msgspec.json.Decoder(Envelope).decode


def seal(envelope: Envelope) -> str:
    """Write an envelope for a field of text."""
    return _MARK + base64.urlsafe_b64encode(encode_json(envelope)).decode("ascii")


def seal_base64(envelope: Envelope) -> str:
    """Write an envelope for a field that holds base64 of bytes."""
    return base64.b64encode(_MARK_BYTES + encode_json(envelope)).decode("ascii")


def is_sealed(text: str) -> bool:
    """Whether a field of text holds an envelope, or what looks like one."""
    return text.startswith(_MARK)


def is_sealed_base64(text: str) -> bool:
    """Whether a field of base64 holds an envelope, or what looks like one."""
    return text.startswith(_MARK_BASE64)


def unseal(text: str) -> Envelope | None:
    """Open what `is_sealed` has seen; None where it is broken."""
    if len(text) > MAX_SEALED_CHARS:
        return None
    return _open(text[len(_MARK) :], b"-_", 0)


def unseal_base64(text: str) -> Envelope | None:
    """Open what `is_sealed_base64` has seen, in either alphabet; None where it is broken."""
    if len(text) > MAX_SEALED_CHARS:
        return None
    padded = text.rstrip("=")
    padded += "=" * (-len(padded) % 4)
    return _open(padded.translate(_TO_PLAIN), None, len(_MARK_BYTES))


_TO_PLAIN = str.maketrans("-_", "+/")


def _open(text: str, alphabet: bytes | None, skipped_bytes: int) -> Envelope | None:
    try:
        envelope = _decode(base64.b64decode(text, alphabet, validate=True)[skipped_bytes:])
    except (binascii.Error, ValueError, *UNREADABLE):
        return None
    if envelope.kind == "call" and envelope.origin not in ("", CALL_ORIGIN):
        return None
    return envelope


def envelope_of_thinking(part: Thinking) -> Envelope:
    """Return what has to come back with a part of thinking."""
    if part.redacted is not None:
        return Envelope("redacted", part.redacted, part.origin)
    return Envelope("signature", part.signature or "", part.origin)


def envelope_of_call(call_id: str, signature: str) -> Envelope:
    """Return the state that a provider hung on a call."""
    return Envelope("call", signature, CALL_ORIGIN, call_id)


def thinking_of_envelope(envelope: Envelope, text: str) -> Thinking:
    """Return the thinking whose proof came back; *text* is what may be read of it."""
    if envelope.kind == "redacted":
        return Thinking(redacted=envelope.value, origin=envelope.origin)
    return Thinking(text, envelope.value or None, origin=envelope.origin)


_Part = TypeVar("_Part", bound=Part)


def give_states_back(parts: Iterable[_Part | Envelope]) -> list[_Part]:
    """Return a turn's parts, the states among them on the calls that they belong to."""
    found: list[_Part] = []
    states: dict[str, str] = {}
    for part in parts:
        if isinstance(part, Envelope):
            states[part.call_id] = part.value
            continue
        if isinstance(part, ToolUse) and part.id in states:
            part.signature = states[part.id]
        found.append(part)
    return found
