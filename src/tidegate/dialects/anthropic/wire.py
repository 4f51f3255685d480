"""The Messages API as a front and as a back of translations."""

from __future__ import annotations

from tidegate.dialects.answer_reader import read_answer
from tidegate.dialects.anthropic import ANTHROPIC
from tidegate.dialects.anthropic.answer import decode_answer, encode_answer
from tidegate.dialects.anthropic.decoder import MessagesStreamDecoder
from tidegate.dialects.anthropic.encoder import MessagesStreamEncoder
from tidegate.dialects.anthropic.errors import decode_error
from tidegate.dialects.anthropic.parts import NAME
from tidegate.dialects.anthropic.request_read import decode_request
from tidegate.dialects.anthropic.request_write import encode_request
from tidegate.dialects.dialect import Dialect
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.wire import MAX_EVENT_BYTES, AnswerContext, Quirks

_BLOCKS = "messages[].content[]"

#: Where a caller of this dialect wrote each feature.
FIELDS = {
    "system.position": "messages[].role",
    "image": _BLOCKS,
    "image.url": f"{_BLOCKS}.source.url",
    "image.file_id": f"{_BLOCKS}.source.file_id",
    "document": _BLOCKS,
    "document.url": f"{_BLOCKS}.source.url",
    "document.file_id": f"{_BLOCKS}.source.file_id",
    "document.title": f"{_BLOCKS}.title",
    "document.context": f"{_BLOCKS}.context",
    "document.citations": f"{_BLOCKS}.citations",
    "tool_result.is_error": f"{_BLOCKS}.is_error",
    "tool_result.media": f"{_BLOCKS}.content[]",
    "thinking": f"{_BLOCKS}.thinking",
    "citations": f"{_BLOCKS}.citations",
    "part": _BLOCKS,
    "cache_marker": f"{_BLOCKS}.cache_control",
    "cache_marker.ttl": f"{_BLOCKS}.cache_control.ttl",
    "tool_use": _BLOCKS,
    "tool_use.arguments": f"{_BLOCKS}.input",
    "tool_use.signature": f"{_BLOCKS}.data",
    "tool": "tools[]",
    "tool.description": "tools[].description",
    "tool.strict": "tools[].strict",
    "tool.builtin": "tools[]",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "max_output_tokens": "max_tokens",
    "reasoning": "thinking",
    "reasoning.budget": "thinking.budget_tokens",
    "reasoning.display": "thinking.display",
    "user": "metadata.user_id",
    "answer.choices": "content",
    "answer.logprobs": "content",
    "answer.citations": "content[].citations",
    "answer.thinking": "content[].thinking",
    "answer.signature": "content[].signature",
    "answer.refusal": "content[]",
    "answer.audio": "content[]",
    "answer.part": "content[]",
    "answer.finish_reason": "stop_reason",
    "answer.stop_sequence": "stop_sequence",
    "answer.tool_arguments": "content[].input",
}


class MessagesWire:
    """See `wire.Wire`."""

    name = NAME
    dialect: Dialect = ANTHROPIC
    fields = FIELDS

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
        return encode_answer(answer, context)

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return decode_error(status, body)

    def stream_decoder(
        self, *, choices: int = 1, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> MessagesStreamDecoder:
        """Return a reader for a target's stream, which holds one answer whatever *choices* says."""
        return MessagesStreamDecoder(max_event_bytes=max_event_bytes)

    def stream_encoder(self, context: AnswerContext) -> MessagesStreamEncoder:
        """Return a writer for a caller's stream."""
        return MessagesStreamEncoder(context)


MESSAGES = MessagesWire()

#: `"message_start"`, `_delta` and `_stop`, or an error: all else in a stream is content.
PASSING_SIGNS = (b'"message_', b'"error"')
