"""The Gemini API as a front and as a back of translations."""

from __future__ import annotations

from tidegate.dialects.answer_reader import read_answer
from tidegate.dialects.dialect import Dialect
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.gemini import GEMINI
from tidegate.dialects.gemini.answer import decode_answer, encode_answer
from tidegate.dialects.gemini.decoder import GeminiStreamDecoder
from tidegate.dialects.gemini.encoder import GeminiStreamEncoder
from tidegate.dialects.gemini.errors import decode_error
from tidegate.dialects.gemini.parts import NAME
from tidegate.dialects.gemini.request_read import decode_request
from tidegate.dialects.gemini.request_write import encode_request
from tidegate.dialects.neutral import NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.wire import MAX_EVENT_BYTES, AnswerContext, Quirks

_PARTS = "contents[].parts[]"
_CONFIG = "generationConfig"
_FUNCTIONS = "tools[].functionDeclarations[]"

#: Where a caller of this dialect wrote each feature.
FIELDS = {
    "system.position": "systemInstruction",
    "image": f"{_PARTS}.inlineData",
    "image.url": f"{_PARTS}.fileData.fileUri",
    "image.file_id": f"{_PARTS}.fileData.fileUri",
    "document": f"{_PARTS}.inlineData",
    "document.url": f"{_PARTS}.fileData.fileUri",
    "document.file_id": f"{_PARTS}.fileData.fileUri",
    "document.title": f"{_PARTS}.inlineData.displayName",
    "audio": f"{_PARTS}.inlineData",
    "tool_result.is_error": f"{_PARTS}.functionResponse",
    "tool_result.media": f"{_PARTS}.functionResponse.parts",
    "thinking": f"{_PARTS}.thought",
    "part": _PARTS,
    "tool_use": f"{_PARTS}.functionCall",
    "tool_use.arguments": f"{_PARTS}.functionCall.args",
    "tool_use.signature": f"{_PARTS}.thoughtSignature",
    "tool": _FUNCTIONS,
    "tool.description": f"{_FUNCTIONS}.description",
    "tool.strict": "toolConfig.functionCallingConfig.mode",
    "tool.builtin": "tools[]",
    "tool_choice": "toolConfig.functionCallingConfig",
    "tool_choice.allowed": "toolConfig.functionCallingConfig.allowedFunctionNames",
    "response_format": f"{_CONFIG}.responseJsonSchema",
    "response_format.strict": f"{_CONFIG}.responseJsonSchema",
    "stop": f"{_CONFIG}.stopSequences",
    "max_output_tokens": f"{_CONFIG}.maxOutputTokens",
    "temperature": f"{_CONFIG}.temperature",
    "top_p": f"{_CONFIG}.topP",
    "top_k": f"{_CONFIG}.topK",
    "seed": f"{_CONFIG}.seed",
    "presence_penalty": f"{_CONFIG}.presencePenalty",
    "frequency_penalty": f"{_CONFIG}.frequencyPenalty",
    "n": f"{_CONFIG}.candidateCount",
    "logprobs": f"{_CONFIG}.responseLogprobs",
    "reasoning": f"{_CONFIG}.thinkingConfig",
    "reasoning.budget": f"{_CONFIG}.thinkingConfig.thinkingBudget",
    "reasoning.display": f"{_CONFIG}.thinkingConfig.includeThoughts",
    "answer.choices": "candidates[]",
    "answer.logprobs": "candidates[].logprobsResult",
    "answer.citations": "candidates[].citationMetadata",
    "answer.thinking": "candidates[].content.parts[].thought",
    "answer.signature": "candidates[].content.parts[].thoughtSignature",
    "answer.refusal": "candidates[].content.parts[].text",
    "answer.audio": "candidates[].content.parts[]",
    "answer.part": "candidates[].content.parts[]",
    "answer.finish_reason": "candidates[].finishReason",
    "answer.stop_sequence": "candidates[].finishReason",
    "answer.tool_arguments": "candidates[].content.parts[].functionCall.args",
}


class GeminiWire:
    """See `wire.Wire`."""

    name = NAME
    dialect: Dialect = GEMINI
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
    ) -> GeminiStreamDecoder:
        """Return a reader for a target's stream."""
        return GeminiStreamDecoder(choices=choices, max_event_bytes=max_event_bytes)

    def stream_encoder(self, context: AnswerContext) -> GeminiStreamEncoder:
        """Return a writer for a caller's stream."""
        return GeminiStreamEncoder(context)


GENERATE = GeminiWire()

#: Whatever has none of these in a stream is content.
PASSING_SIGNS = (b'"finishReason"', b'"usageMetadata"', b'"promptFeedback"', b'"error"')
