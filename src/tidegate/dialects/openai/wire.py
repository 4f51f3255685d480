"""The Chat Completions API as a front and as a back of translations."""

from __future__ import annotations

from tidegate.dialects.answer_reader import read_answer
from tidegate.dialects.dialect import Dialect
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.openai import OPENAI
from tidegate.dialects.openai.chat_answer import decode_answer, decode_error, encode_answer
from tidegate.dialects.openai.chat_decoder import ChatStreamDecoder
from tidegate.dialects.openai.chat_encoder import ChatStreamEncoder
from tidegate.dialects.openai.chat_legacy import LegacyStreamEncoder, write_legacy_choice
from tidegate.dialects.openai.chat_parts import NAME
from tidegate.dialects.openai.chat_read import decode_request
from tidegate.dialects.openai.chat_write import encode_request
from tidegate.dialects.wire import MAX_EVENT_BYTES, AnswerContext, Quirks

_PARTS = "messages[].content[]"

#: Where a caller of this dialect wrote each feature.
FIELDS = {
    "system.position": "messages[].role",
    "message.name": "messages[].name",
    "image": f"{_PARTS}.image_url",
    "image.url": f"{_PARTS}.image_url.url",
    "image.detail": f"{_PARTS}.image_url.detail",
    "document": f"{_PARTS}.file",
    "document.file_id": f"{_PARTS}.file.file_id",
    "document.title": f"{_PARTS}.file.filename",
    "audio": f"{_PARTS}.input_audio",
    "tool_result.media": f"{_PARTS}.image_url",
    "thinking": "messages[].reasoning_details",
    "refusal": "messages[].refusal",
    "citations": "messages[].annotations",
    "part": _PARTS,
    "cache_marker": f"{_PARTS}.prompt_cache_breakpoint",
    "cache_marker.ttl": f"{_PARTS}.prompt_cache_breakpoint.ttl",
    "tool_use": "messages[].tool_calls",
    "tool_use.arguments": "messages[].tool_calls[].function.arguments",
    "tool_use.signature": "messages[].tool_calls[].extra_content",
    "tool": "tools[]",
    "tool.description": "tools[].function.description",
    "tool.strict": "tools[].function.strict",
    "tool.builtin": "tools[]",
    "tool.custom": "tools[].custom",
    "tool_choice.allowed": "tool_choice.allowed_tools",
    "response_format.name": "response_format.json_schema.name",
    "response_format.strict": "response_format.json_schema.strict",
    "response_format.description": "response_format.json_schema.description",
    "max_output_tokens": "max_completion_tokens",
    "reasoning": "reasoning_effort",
    "answer.choices": "choices[]",
    "answer.logprobs": "choices[].logprobs",
    "answer.citations": "choices[].message.annotations",
    "answer.thinking": "choices[].message.reasoning_content",
    "answer.signature": "choices[].message.reasoning_details",
    "answer.refusal": "choices[].message.refusal",
    "answer.audio": "choices[].message.audio",
    "answer.part": "choices[].message.content",
    "answer.finish_reason": "choices[].finish_reason",
    "answer.stop_sequence": "choices[].finish_reason",
    "answer.tool_use": "choices[].message.function_call",
    "answer.tool_arguments": "choices[].message.tool_calls[].function.arguments",
}


class ChatWire:
    """See `wire.Wire`."""

    name = NAME
    dialect: Dialect = OPENAI
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
        reword = write_legacy_choice if context.legacy_functions else None
        return encode_answer(answer, context, reword)

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal."""
        return decode_error(status, body)

    def stream_decoder(
        self, *, choices: int = 1, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> ChatStreamDecoder:
        """Return a reader for a target's stream."""
        return ChatStreamDecoder(choices=choices, max_event_bytes=max_event_bytes)

    def stream_encoder(self, context: AnswerContext) -> ChatStreamEncoder:
        """Return a writer for a caller's stream."""
        if context.legacy_functions:
            return LegacyStreamEncoder(context)
        return ChatStreamEncoder(context)


CHAT = ChatWire()
