"""Typed reading of callers' JSON: errors name the field, and no field is lost unseen.

Shapes are structs that forbid unknown fields, which costs nothing while there are none. Where
there is one, the value is walked once to name each and to leave them out, and read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from tidegate.dialects.neutral import NeutralRequest, OpaquePart, Tool, ToolResult, ToolUse
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadRequest

T = TypeVar("T")

#: More unknown fields than these are not named one by one; the caller sees enough by then.
MAX_UNREAD = 64

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
#: Compared as it is: `bytes(raw)` would copy a picture to see that it is not null.
_NULL = msgspec.Raw(b"null")
_AT = re.compile(r" - at `\$(.*)`$")


def request_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Split a request's body at the top level; raises `BadRequest`."""
    try:
        if not body.isascii():
            str(body, "utf-8")  # raw values are passed on: they must be text
        return _decode_fields(body)
    except UNREADABLE as error:
        raise BadRequest(describe(error)) from None


def describe(error: Exception) -> str:
    """Say what is wrong with a body, without quoting any of it."""
    if isinstance(error, msgspec.ValidationError):
        return "The request body must be a JSON object."
    if isinstance(error, RecursionError):
        return "The request body is nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not valid UTF-8."
    return f"The request body is not valid JSON ({error})."


class Shape(Generic[T]):
    """Reads one JSON value as a type whose structs forbid unknown fields."""

    __slots__ = ("_decode", "_type")

    def __init__(self, shape: Any) -> None:
        self._decode = msgspec.json.Decoder(shape).decode
        self._type = inspect.type_info(shape)

    def read(self, raw: bytes | msgspec.Raw, path: str, unread: list[str]) -> T:
        """Read *raw*, found at *path*; add the paths of unknown fields to *unread*.

        Raises `BadRequest` that names the field at fault.
        """
        try:
            value: T = self._decode(raw)
        except msgspec.ValidationError as error:
            if "unknown field" not in str(error):
                raise _bad_field(error, path) from None
        except UNREADABLE as error:
            raise BadRequest(f"'{path}' cannot be read ({error}).", param=path) from None
        else:
            return value
        try:
            known = _without_unknown(bytes(raw), self._type, path, unread)
            value = self._decode(known)
        except msgspec.ValidationError as error:
            raise _bad_field(error, path) from None
        except UNREADABLE as error:
            raise BadRequest(f"'{path}' cannot be read ({error}).", param=path) from None
        return value


def _bad_field(error: msgspec.ValidationError, path: str) -> BadRequest:
    """Turn `Expected `str`, got `int` - at `$[0].role`` into an error about `messages[0].role`."""
    text = str(error)
    found = _AT.search(text)
    if found is not None:
        path += found[1]
        text = text[: found.start()]
    return BadRequest(f"'{path}' is not valid: {text}.", param=path)


def _without_unknown(raw: bytes, kind: inspect.Type, path: str, unread: list[str]) -> bytes:
    """Return *raw* without the fields that *kind* does not know, at any depth."""
    if isinstance(kind, inspect.UnionType):
        wanted = inspect.StructType if raw[:1] == b"{" else inspect.ListType
        for member in kind.types:
            if isinstance(member, wanted):
                return _without_unknown(raw, member, path, unread)
        return raw
    if isinstance(kind, inspect.StructType) and raw[:1] == b"{":
        known = {field.encode_name: field.type for field in kind.fields}
        kept: dict[str, msgspec.Raw] = {}
        for name, value in _decode_fields(raw).items():
            where = f"{path}.{name}"
            if name in known:
                kept[name] = msgspec.Raw(_without_unknown(bytes(value), known[name], where, unread))
            elif bytes(value) != b"null":
                note(unread, where)
        return _encode(kept)
    if isinstance(kind, inspect.ListType) and raw[:1] == b"[":
        return _encode(
            [
                msgspec.Raw(_without_unknown(bytes(item), kind.item_type, f"{path}[]", unread))
                for item in _decode_items(raw)
            ]
        )
    return raw


def note(unread: list[str], path: str) -> None:
    """Add *path* to *unread*, once."""
    if path not in unread and len(unread) < MAX_UNREAD:
        unread.append(path)


#: Plain values that requests of all dialects hold.
TEXT: Shape[str] = Shape(str)
TEXTS: Shape[list[str]] = Shape(list[str])
TEXT_OR_TEXTS: Shape[str | list[str]] = Shape(str | list[str])
INTEGER: Shape[int] = Shape(int)
NUMBER: Shape[float] = Shape(float)
FLAG: Shape[bool] = Shape(bool)
OBJECT: Shape[dict[str, msgspec.Raw]] = Shape(dict[str, msgspec.Raw])


class Fields:
    """Top-level fields of a request, taken out one by one; what is left over is `extra`.

    Attributes:
        unread: Paths of unknown fields below the top level.
    """

    __slots__ = ("_left", "unread")

    def __init__(self, body: bytes) -> None:
        self._left = request_fields(body)
        self.unread: list[str] = []

    def take(self, name: str, shape: Shape[T]) -> T | None:
        """Take the field *name* out; None when it is missing or null."""
        raw = self._left.pop(name, None)
        if raw is None or raw == _NULL:
            return None
        return shape.read(raw, name, self.unread)

    def take_raw(self, name: str) -> bytes | None:
        """Take the field *name* out as JSON; None when it is missing or null."""
        raw = self._left.pop(name, None)
        return None if raw is None or raw == _NULL else bytes(raw)

    def need(self, name: str, shape: Shape[T]) -> T:
        """Take a field that must be there; raises `BadRequest`."""
        value = self.take(name, shape)
        if value is None:
            raise BadRequest(f"You must provide '{name}'.", param=name)
        return value

    def left_over(self, defaults: Mapping[str, tuple[bytes, ...]]) -> dict[str, bytes]:
        """Return what is left, without nulls and without values that say the default anyway."""
        return {
            name: value
            for name, raw in self._left.items()
            if (value := bytes(raw)) != b"null" and value not in defaults.get(name, ())
        }


def json_text(raw: bytes) -> str:
    """Return a raw JSON value as text."""
    return str(raw, "utf-8")


def check_request(request: NeutralRequest) -> NeutralRequest:
    """Return *request* if it makes sense in any dialect.

    Raises `BadRequest` for a tool or a call without a name, and for a part of no kind: no target
    could do anything with them.
    """
    for tool in request.tools:
        if isinstance(tool, Tool) and not tool.name:
            raise BadRequest("A tool needs a name.", param="tools")
    for number, message in enumerate(request.messages):
        for part in message.parts:
            if isinstance(part, ToolUse) and not part.name:
                path = f"messages[{number}]"
                raise BadRequest(f"A tool call of '{path}' has no name.", param=path)
            inner = part.parts if isinstance(part, ToolResult) else [part]
            if any(isinstance(one, OpaquePart) and not one.kind for one in inner):
                path = f"messages[{number}]"
                raise BadRequest(f"A part of '{path}' has no type.", param=path)
    return request
