"""What is kept of one response: one file, packed."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, omit_defaults=True):
    """A response of one key.

    A response that its provider keeps has `provider` and nothing of its content.

    Attributes:
        response: The whole response as JSON.
        input: What it was asked with: a JSON list of items, those of earlier responses apart.
        apart: Whether `input` stands in a file beside this one, for its size.
        previous: Id of the response that it went on from; empty for none.
        provider: Configured name of the provider that keeps it; empty where we do.
        model: The provider's name of its model.
        background: Whether it was made without a client.
        running: Whether it was being made when this was written.
    """

    response: bytes = b""
    input: bytes = b""
    apart: bool = False
    previous: str = ""
    provider: str = ""
    model: str = ""
    background: bool = False
    running: bool = False


encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode
