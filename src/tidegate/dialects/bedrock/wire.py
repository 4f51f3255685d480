"""The Converse API as a back of translations."""

from __future__ import annotations

from tidegate.dialects.answer_reader import read_answer
from tidegate.dialects.bedrock.answer import NAME, decode_answer
from tidegate.dialects.bedrock.decoder import ConverseStreamDecoder
from tidegate.dialects.bedrock.errors import decode_error
from tidegate.dialects.bedrock.request_write import encode_request
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.wire import MAX_EVENT_BYTES, Quirks


class ConverseWire:
    """See `wire.Back`."""

    name = NAME

    def encode_request(
        self, request: NeutralRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a target's request."""
        return encode_request(request, model, quirks)

    def decode_answer(self, body: bytes) -> NeutralAnswer:
        """Read a target's whole answer."""
        return read_answer(body, decode_answer)

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return decode_error(status, body)

    def stream_decoder(
        self, *, choices: int = 1, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> ConverseStreamDecoder:
        """Return a reader for a target's stream, which holds one answer whatever *choices* says."""
        return ConverseStreamDecoder(max_event_bytes=max_event_bytes)


CONVERSE = ConverseWire()
