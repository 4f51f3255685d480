"""Typed reading of callers' JSON: errors name the field, and no field is lost unseen.

Shapes are structs that forbid unknown fields, which costs nothing while there are none. Where
there is one, the value is walked once to name each and to leave them out, and read again.

A whole body is read in the same way: at once as one struct, which nearly all bodies fit, and
otherwise field by field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Generic, TypeVar, Union, get_args, get_type_hints

import msgspec
from msgspec import inspect

from tidegate.dialects.neutral import NeutralRequest, OpaquePart, Tool, ToolResult, ToolUse
from tidegate.dialects.unreadable import UNREADABLE, check_text
from tidegate.errors import BadRequest

T = TypeVar("T")
W = TypeVar("W", bound=msgspec.Struct)

#: More unknown fields than these are not named one by one; the caller sees enough by then.
MAX_UNREAD = 64

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
#: Compared as it is: `bytes(raw)` would copy a picture to see that it is not null.
_NULL = msgspec.Raw(b"null")
#: A field that no struct knows, or a kind that is told twice, of which the last counts.
_MENDABLE = re.compile("unknown field|Invalid value")
_AT = re.compile(r" - at `\$(.*)`$")


def request_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Split a request's body at the top level; raises `BadRequest`."""
    try:
        check_text(body)  # raw values are passed on
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
            if not _MENDABLE.search(str(error)):
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
        if kind.tag_field is not None:
            known[kind.tag_field] = inspect.StrType()
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


class Body(Generic[W]):
    """Reads a request's body as a struct that forbids unknown fields.

    A body that fits is read in one go, a third of what its fields cost one by one. Any other is
    read field by field, in the order of the struct, so that an error names its field and what the
    struct does not know is found.

    Args:
        shape: The struct; what has no default must be there.
        apart: Shapes of fields that may hold more than the struct takes in one go.
    """

    __slots__ = ("_apart", "_decode", "_shape", "_shapes")

    def __init__(self, shape: type[W], apart: Mapping[str, Shape[Any]]) -> None:
        hints = get_type_hints(shape)
        needed = {field.name for field in msgspec.structs.fields(shape) if field.required}
        self._decode = msgspec.json.Decoder(shape).decode
        self._shape = shape
        self._shapes = [
            (name, apart.get(name) or Shape(_without_null(hints[name])), name in needed)
            for name in shape.__struct_fields__
        ]

    def read(self, body: bytes) -> tuple[W, Fields | None]:
        """Return the struct, and where the body was read field by field, what is left of it.

        Raises `BadRequest`. Of a body that was read in one go, the texts of the struct are known
        to be UTF-8 and nothing else is: see `check_kept`.
        """
        try:
            return self._decode(body), None
        except UNREADABLE:
            return self._read_apart(body)

    def _read_apart(self, body: bytes) -> tuple[W, Fields]:
        fields = Fields(body)
        values: dict[str, Any] = {}
        for name, shape, needed in self._shapes:
            value = fields.need(name, shape) if needed else fields.take(name, shape)
            if value is not None:
                values[name] = value
        return self._shape(**values), fields


def _without_null(hint: Any) -> Any:
    """Return a field's type as its errors name it: null is none of its values, but means none."""
    kinds = get_args(hint)
    if NoneType not in kinds:
        return hint
    return Union[tuple(kind for kind in kinds if kind is not NoneType)]  # noqa: UP007  # of a tuple


def check_kept(body: bytes) -> None:
    """Raise `BadRequest` unless all of *body* is text: pieces of it are passed on as they are."""
    try:
        check_text(body)
    except UnicodeDecodeError as error:
        raise BadRequest(describe(error)) from None


def json_text(raw: bytes) -> str:
    """Return a raw JSON value as text; raises `BadRequest` where it is none."""
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(describe(error)) from None


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
