"""Requests as `multipart/form-data`, of which two or three small fields are read.

Files inside stay where they are: a body is searched, never split. Only one spelling of a form is
read, that of browsers and SDKs (RFC 7578). Whatever another parser might take differently, a
second `model`, an escaped name, a boundary inside a file, is refused: the provider must see the
model that was checked here.
"""

from __future__ import annotations

import re

import msgspec

from tidegate.dialects.neutral import NeutralRequest
from tidegate.errors import BadRequest

MAX_PARTS = 256
"""Parts of one form; an upload of 16 pictures has 16 and its few fields."""

_MAX_HEAD_BYTES = 4096
_MAX_FIELD_BYTES = 1024
_TYPE = re.compile(
    rb"""multipart/form-data[ \t]*;[ \t]*boundary=("?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1[ \t]*""",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(
    rb'form-data; ?name="([ !#$&-\[\]-~]{1,128})"'
    rb'(; ?filename="[^"\x00-\x1f\x7f]{0,1024}")?(; ?filename\*=[!#-:<-~]{0,1024})?',
    re.IGNORECASE,
)
_PLAIN_CODINGS = frozenset({b"binary", b"8bit", b"7bit"})
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class FormFields:
    """The small fields of a form, and where each stands in the body.

    Attributes:
        content_type: Header value for the way to a provider.
        places: Name → `(start, end)` of the value, for the names asked for.
    """

    __slots__ = ("body", "content_type", "places")

    def __init__(self, body: bytes, content_type: bytes, names: frozenset[bytes]) -> None:
        """Search *body* for *names*; raises `BadRequest` for a form that is not plain."""
        found = _TYPE.fullmatch(content_type.strip())
        if found is None:
            raise BadRequest("The content type must be multipart/form-data with a plain boundary.")
        self.body = body
        self.content_type = b'multipart/form-data; boundary="%b"' % found[2]
        if not found[1] and not _needs_quotes(found[2]):
            self.content_type = b"multipart/form-data; boundary=" + found[2]
        self.places: dict[bytes, tuple[int, int]] = {}
        self._scan(b"--" + found[2], names)

    def _scan(self, mark: bytes, names: frozenset[bytes]) -> None:
        body = self.body
        if not body.startswith(mark):
            raise _broken("does not begin with its boundary")
        position = len(mark)
        boundaries = 1
        while body[position : position + 2] == b"\r\n":
            if boundaries > MAX_PARTS:
                raise _broken(f"has more than {MAX_PARTS} parts")
            head_end = body.find(b"\r\n\r\n", position, position + _MAX_HEAD_BYTES)
            if head_end < 0:
                raise _broken("has a part without a head")
            name, is_file = _read_head(body[position + 2 : head_end])
            start = head_end + 4
            end = body.find(b"\r\n" + mark, start)
            if end < 0:
                raise _broken("has no end")
            if name in names:
                if name in self.places or is_file:
                    raise _broken(f"has more than one value of '{name.decode()}'")
                self.places[name] = (start, end)
            elif name.partition(b"[")[0].strip().lower() in names:
                raise _broken(f"has the field '{name.decode()}', which can be read in two ways")
            position = end + 2 + len(mark)
            boundaries += 1
        if body[position : position + 2] != b"--" or body[position + 2 :] not in (b"", b"\r\n"):
            raise _broken("has no proper end")
        if body.count(mark) != boundaries:
            raise _broken("holds its own boundary inside a part")

    def text(self, name: bytes) -> str | None:
        """Return a field's value; None where the form lacks it."""
        place = self.places.get(name)
        if place is None:
            return None
        start, end = place
        value = self.body[start : min(end, start + _MAX_FIELD_BYTES + 1)]
        if len(value) > _MAX_FIELD_BYTES or _CONTROLS.search(value):
            raise BadRequest(f"'{name.decode()}' is not valid.", param=name.decode())
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest(
                f"'{name.decode()}' is not valid UTF-8.", param=name.decode()
            ) from None

    def replaced(self, name: bytes, value: bytes) -> bytes:
        """Return the body with another value of a field that it has: one copy."""
        start, end = self.places[name]
        view = memoryview(self.body)
        return b"".join((view[:start], value, view[end:]))


_MODEL_FIELDS = frozenset({b"model", b"stream", b"n"})


class FormRequest:
    """A form that names a model; see `pipeline.attempt.Request`.

    Attributes:
        body: The caller's bytes.
        model: The name that the caller asked for.
        stream: Whether an event stream is wanted.
        choices: How many results a stream will carry: `n`.
        content_type: What the provider is told of the body.
        neutral: None: nothing can stand in for a form.
    """

    __slots__ = ("_fields", "body", "choices", "content_type", "model", "neutral", "stream")

    def __init__(self, body: bytes, content_type: bytes) -> None:
        fields = self._fields = FormFields(body, content_type, _MODEL_FIELDS)
        model = fields.text(b"model")
        if not model:
            raise BadRequest("You must provide a model parameter.", param="model")
        stream = fields.text(b"stream") or "false"
        if stream not in ("true", "false"):
            raise BadRequest("'stream' must be true or false.", param="stream")
        number = fields.text(b"n") or "1"
        self.body = body
        self.model = model
        self.stream = stream == "true"
        self.choices = max(1, int(number)) if number.isdecimal() and len(number) <= 4 else 1
        self.content_type = fields.content_type
        self.neutral: NeutralRequest | None = None

    def body_for(self, model: str, raw_model: msgspec.Raw, force_usage: bool) -> bytes:
        """Return the body for a target that calls the model *model*."""
        if model == self.model:
            return self.body
        return self._fields.replaced(b"model", model.encode())


def _read_head(head: bytes) -> tuple[bytes, bool]:
    """Return a part's name, and whether it is a file."""
    disposition: re.Match[bytes] | None = None
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        if not colon or not name or _CONTROLS.search(line):
            raise _broken("has a part whose head cannot be read")
        if name == b"content-disposition":
            if disposition is not None:
                raise _broken("has a part with two names")
            disposition = _DISPOSITION.fullmatch(value)
            if disposition is None:
                raise _broken("has a part whose name cannot be read")
        elif name == b"content-transfer-encoding" and value.lower() not in _PLAIN_CODINGS:
            raise _broken("has an encoded part")
        elif name != name.strip():
            raise _broken("has a part whose head cannot be read")
    if disposition is None:
        raise _broken("has a part without a name")
    return disposition[1], disposition[2] is not None or disposition[3] is not None


def _needs_quotes(boundary: bytes) -> bool:
    return any(sign in boundary for sign in b"()/:=?,")


def _broken(how: str) -> BadRequest:
    return BadRequest(f"The form {how}.")
