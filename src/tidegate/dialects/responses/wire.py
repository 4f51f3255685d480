"""The Responses API as a front and as a back of translations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.dialects.answer_reader import read_answer
from tidegate.dialects.dialect import Dialect
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.openai.chat_answer import decode_error
from tidegate.dialects.responses import RESPONSES
from tidegate.dialects.responses.answer import decode_answer, encode_answer
from tidegate.dialects.responses.decoder import ResponsesStreamDecoder
from tidegate.dialects.responses.encoder import ResponsesStreamEncoder
from tidegate.dialects.responses.parts import NAME
from tidegate.dialects.responses.request_read import decode_request, echo_of
from tidegate.dialects.responses.request_write import encode_request
from tidegate.dialects.wire import MAX_EVENT_BYTES, AnswerContext, Quirks

_PARTS = "input[].content[]"

#: Where a caller of this dialect wrote each feature.
FIELDS = {
    "system.position": "input[].role",
    "image": f"{_PARTS}.image_url",
    "image.url": f"{_PARTS}.image_url",
    "image.file_id": f"{_PARTS}.file_id",
    "image.detail": f"{_PARTS}.detail",
    "document": f"{_PARTS}.file_data",
    "document.url": f"{_PARTS}.file_url",
    "document.file_id": f"{_PARTS}.file_id",
    "document.title": f"{_PARTS}.filename",
    "audio": f"{_PARTS}.input_audio",
    "tool_result.media": "input[].output[]",
    "thinking": "input[].encrypted_content",
    "refusal": f"{_PARTS}.refusal",
    "citations": f"{_PARTS}.annotations",
    "part": "input[]",
    "cache_marker": f"{_PARTS}.prompt_cache_breakpoint",
    "cache_marker.ttl": f"{_PARTS}.prompt_cache_breakpoint.ttl",
    "tool_use": "input[].function_call",
    "tool_use.arguments": "input[].arguments",
    "tool_use.signature": "input[].encrypted_content",
    "tool": "tools[]",
    "tool.description": "tools[].description",
    "tool.strict": "tools[].strict",
    "tool.builtin": "tools[]",
    "tool.custom": "tools[].format",
    "tool_choice.allowed": "tool_choice.tools",
    "response_format": "text.format",
    "response_format.name": "text.format.name",
    "response_format.strict": "text.format.strict",
    "response_format.description": "text.format.description",
    "logprobs": "include",
    "reasoning.display": "reasoning.summary",
    "user": "safety_identifier",
    "answer.logprobs": "output[].content[].logprobs",
    "answer.citations": "output[].content[].annotations",
    "answer.thinking": "output[].summary",
    "answer.signature": "output[].encrypted_content",
    "answer.refusal": "output[].content[].refusal",
    "answer.audio": "output[]",
    "answer.part": "output[]",
    "answer.finish_reason": "status",
    "answer.stop_sequence": "status",
    "answer.tool_arguments": "output[].arguments",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one call to a front knows beside the request and the answer.

    Attributes:
        fields: The request's top-level fields, as far as a response says them again.
        keep: Takes the whole response, as JSON, before the caller has the end of it.
        encoders: Writers of streams, the newest last, for a stream that has to be cut short.
    """

    fields: Mapping[str, Any]
    keep: Callable[[bytes], None] | None = None
    encoders: list[ResponsesStreamEncoder] = field(default_factory=list)


_NO_TURN = Turn(echo_of({}))


class ResponsesWire:
    """See `wire.Wire`. As a front it belongs to one request, which *turn* tells of."""

    name = NAME
    dialect: Dialect = RESPONSES
    fields = FIELDS

    def __init__(self, turn: Turn = _NO_TURN) -> None:
        self._turn = turn

    def decode_request(self, body: bytes) -> NeutralRequest:
        """Read a caller's request."""
        return decode_request(body)

    def encode_request(
        self, request: NeutralRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write a target's request."""
        return encode_request(request, model, quirks)

    def decode_answer(self, body: bytes) -> NeutralAnswer:
        """Read a target's whole answer."""
        return read_answer(body, decode_answer)

    def encode_answer(
        self, answer: NeutralAnswer, context: AnswerContext
    ) -> tuple[bytes, list[Loss]]:
        """Write a caller's whole answer."""
        body, losses = encode_answer(answer, context, self._turn.fields)
        if self._turn.keep is not None:
            self._turn.keep(body)
        return body, losses

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return decode_error(status, body)

    def stream_decoder(
        self, *, choices: int = 1, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> ResponsesStreamDecoder:
        """Return a reader for a target's stream."""
        return ResponsesStreamDecoder(max_event_bytes=max_event_bytes)

    def stream_encoder(self, context: AnswerContext) -> ResponsesStreamEncoder:
        """Return a writer for a caller's stream."""
        encoder = ResponsesStreamEncoder(context, self._turn.fields, self._turn.keep)
        if self._turn is not _NO_TURN:
            self._turn.encoders.append(encoder)
        return encoder


RESPONSES_WIRE = ResponsesWire()
