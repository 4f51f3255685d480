"""What all encoders of requests share: leftovers, refused features, data URLs."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.dialects.fidelity import Losses
from tidegate.dialects.neutral import Message, NeutralRequest, Text, ToolUse
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

encode_json = msgspec.json.Encoder().encode

#: The schema of a function without arguments.
NO_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')

#: A custom tool takes free text; as a function it has that as its one field.
CUSTOM_SCHEMA = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}'
)

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.ASCII)


def report_leftovers(request: NeutralRequest, quirks: Quirks, losses: Losses) -> dict[str, Any]:
    """Name what the neutral form could not hold; return the fields that are passed on as they are.

    Fields pass only where the target's quirks say so: an unknown field is an error to many.
    """
    passed: dict[str, Any] = {}
    for name, raw in request.extra.items():
        if name in quirks.pass_fields:
            passed[name] = msgspec.Raw(raw)
        else:
            losses.drop("extra", name)
    for path in request.unread:
        losses.drop("unread", path)
    return passed


def split_data_url(url: str) -> tuple[str, str] | None:
    """Split a base64 `data:` URL into media type and data; None for any other URL."""
    found = _DATA_URL.match(url)
    return None if found is None else (found[1], url[found.end() :])


def json_object(text: str) -> bytes | None:
    """Return *text* as JSON if it is an object (empty text is one), else None."""
    if not text.strip():
        return b"{}"
    raw = text.encode("utf-8", "replace")
    try:
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return raw


def refuse_empty(path: str, why: str) -> BadRequest:
    """Return the error for a turn of which nothing is left."""
    return BadRequest(f"The model's provider cannot take {why}.", param=path)


def call_arguments(call: ToolUse, losses: Losses) -> bytes:
    """Return the arguments of an earlier call as a JSON object, which some APIs insist on.

    Free text becomes the one field of a custom tool. Where the model wrote no JSON, it has to
    see what it wrote.
    """
    if call.custom:
        losses.bend("tool.custom")
        return encode_json({"input": call.arguments})
    found = json_object(call.arguments)
    if found is None:
        losses.bend("tool_use.arguments")
        return encode_json({"arguments": call.arguments})
    return found


def says(message: Message) -> bool:
    """Whether a turn says anything: empty texts do not."""
    return any(not isinstance(part, Text) or part.text for part in message.parts)
