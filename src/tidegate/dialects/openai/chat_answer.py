"""Whole chat completions, read from a target and written for a caller.

Source: `ChatCompletion` of the openai package, 3.x. `reasoning_content`, `reasoning` and
`reasoning_details` are what compatible servers add to a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tidegate.dialects.answer_reader import unix_time
from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Audio,
    Choice,
    Citation,
    FinishReason,
    NeutralAnswer,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolUse,
    WireError,
)
from tidegate.dialects.openai.chat_parts import (
    NAME,
    Detail,
    annotation_of_citation,
    citation_of_annotation,
    details_of_thinking,
    thinking_of_details,
)
from tidegate.dialects.openai.usage import usage_of_json
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer

FINISH_READ: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
FINISH_WRITE: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause": "stop",
    "context": "length",
    "other": "stop",
}
#: Reasons that the caller cannot tell from another one.
INEXACT_FINISH = frozenset({"pause", "context", "other"})

_NULL = msgspec.Raw(b"null")


class Function(msgspec.Struct):
    """Arguments are JSON text in a string; some servers send the object itself."""

    name: str | None = None
    arguments: msgspec.Raw = _NULL


class CustomCall(msgspec.Struct):
    """A call of a tool that takes free text."""

    name: str | None = None
    input: str | None = None


class _Google(msgspec.Struct):
    thought_signature: str = ""


class ExtraContent(msgspec.Struct):
    """Where Gemini's compatible endpoint keeps the state of a call."""

    google: _Google | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: Function | None = None
    custom: CustomCall | None = None
    extra_content: ExtraContent | None = None


class _Audio(msgspec.Struct):
    id: str = ""
    data: str = ""
    transcript: str = ""


class ContentPart(msgspec.Struct):
    """Where `content` is a list, as some servers write it."""

    type: str = ""
    text: str = ""
    thinking: list[ContentPart] | str | None = None


class _Message(msgspec.Struct):
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: Function | None = None
    annotations: list[msgspec.Raw] | None = None
    audio: _Audio | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Detail] | None = None


class _WireChoice(msgspec.Struct):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _NULL


class _Completion(msgspec.Struct):
    choices: list[_WireChoice]
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    usage: msgspec.Raw = _NULL


class ErrorObject(msgspec.Struct):
    """`error` of a refusal or of an error event."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    status: str | int | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_error = msgspec.json.Decoder(ErrorObject).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole completion; raises `UnreadableAnswer`."""
    try:
        wire = _decode_completion(body)
        choices = [_choice(choice) for choice in wire.choices]
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer is no chat completion ({error}).") from None
    if not choices:
        raise UnreadableAnswer("The provider's answer holds no choice.")
    return NeutralAnswer(
        wire.id or "", wire.model or "", choices, usage_of_json(wire.usage), unix_time(wire.created)
    )


def _choice(wire: _WireChoice) -> Choice:
    message = wire.message
    content = message.content
    if type(content) is str and content and _is_text(message):
        finish = FINISH_READ.get(wire.finish_reason or "stop", "other")
        choice = Choice([Text(content)], finish, None, wire.index)
    else:
        choice = _choice_of_parts(wire, message)
    logprobs = wire.logprobs
    if logprobs is not _NULL and logprobs != _NULL:
        choice.logprobs = bytes(logprobs)
    return choice


def _is_text(message: _Message) -> bool:
    """Whether an answer is its text and nothing else."""
    return not (
        message.tool_calls
        or message.refusal
        or message.annotations
        or message.reasoning_content
        or message.reasoning
        or message.reasoning_details
        or message.audio is not None
        or message.function_call is not None
    )


def _choice_of_parts(wire: _WireChoice, message: _Message) -> Choice:
    parts: list[Part] = []
    if message.reasoning_details:
        parts.extend(thinking_of_details(message.reasoning_details))
    elif message.reasoning_content or message.reasoning:
        parts.append(Thinking(message.reasoning_content or message.reasoning or ""))
    parts.extend(parts_of_content(message.content))
    if message.annotations:
        text = next((part for part in parts if isinstance(part, Text)), None)
        if text is not None:
            text.citations = [citation_of_annotation(raw) for raw in message.annotations]
    if message.refusal:
        parts.append(Refusal(message.refusal))
    if message.audio is not None:
        audio = message.audio
        parts.append(Audio(audio.data, id=audio.id, transcript=audio.transcript))
    calls = list(message.tool_calls or [])
    if message.function_call is not None:
        calls.append(_ToolCall(function=message.function_call))
    parts.extend([_tool_use(call, number) for number, call in enumerate(calls)])
    finish = finish_of(wire.finish_reason, calls=bool(calls), refused=bool(message.refusal))
    return Choice(parts, finish, index=wire.index)


def finish_of(reason: str | None, *, calls: bool, refused: bool) -> FinishReason:
    """Read a finish reason. A call that was forced ends in `stop`, yet wants its result."""
    finish = FINISH_READ.get(reason or "stop", "other")
    if finish == "stop" and calls:
        return "tool_use"
    if finish == "stop" and refused:
        return "refusal"
    return finish


def parts_of_content(content: str | list[ContentPart] | None) -> list[Text | Thinking]:
    """Read `content`: a string, or with some servers a list of text and thinking parts."""
    if not content:
        return []
    if isinstance(content, str):
        return [Text(content)]
    found: list[Text | Thinking] = []
    for part in content:
        if part.type == "thinking":
            inner = part.thinking or ""
            if not isinstance(inner, str):
                inner = "".join([piece.text for piece in inner])
            found.append(Thinking(inner))
        elif part.text:
            found.append(Text(part.text))
    return found


def arguments_text(raw: msgspec.Raw) -> str:
    """Return a call's arguments as text, whether they came as a string or as an object."""
    value = bytes(raw)
    if value == b"null":
        return ""
    return _decode_text(value) if value.startswith(b'"') else str(value, "utf-8")


def _tool_use(call: _ToolCall, number: int) -> ToolUse:
    identifier = call.id or f"call_{number}"
    if call.custom is not None:
        return ToolUse(identifier, call.custom.name or "", call.custom.input or "", custom=True)
    function = call.function or Function()
    google = None if call.extra_content is None else call.extra_content.google
    return ToolUse(
        identifier,
        function.name or "",
        arguments_text(function.arguments),
        signature="" if google is None else google.thought_signature,
    )


# --- writing --------------------------------------------------------------------------------


def encode_answer(
    answer: NeutralAnswer,
    context: AnswerContext,
    reword: Callable[[dict[str, Any], Losses], None] | None = None,
) -> tuple[bytes, list[Loss]]:
    """Write a whole completion; *reword* changes each choice that was written."""
    losses = Losses()
    choices = [_write_choice(choice, losses) for choice in answer.choices]
    if reword is not None:
        for choice in choices:
            reword(choice, losses)
    body: dict[str, Any] = {
        "id": answer.id or answer_id("", context),
        "object": "chat.completion",
        "created": answer.created_s or context.created_s,
        "model": context.model,
        "choices": choices,
    }
    if answer.usage is not None:
        body["usage"] = usage_object(answer.usage)
    return encode_json(body), losses.listed() if losses else []


def answer_id(upstream: str, context: AnswerContext) -> str:
    """Return the id that the caller is told."""
    return upstream or f"chatcmpl-{context.id}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Write usage; cached tokens are part of the prompt's here."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _write_choice(choice: Choice, losses: Losses) -> dict[str, Any]:
    parts = choice.parts
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if len(parts) == 1 and type(part := parts[0]) is Text and not part.citations:
        message["content"] = part.text
    else:
        _add_parts(message, parts, losses)
    if choice.stop_sequence is not None or choice.finish in INEXACT_FINISH:
        note_finish(choice.finish, choice.stop_sequence, losses)
    return {
        "index": choice.index,
        "message": message,
        "logprobs": None if choice.logprobs is None else msgspec.Raw(choice.logprobs),
        "finish_reason": FINISH_WRITE[choice.finish],
    }


def _add_parts(message: dict[str, Any], parts: list[Part], losses: Losses) -> None:
    texts: list[str] = []
    thinking: list[Thinking] = []
    calls: list[dict[str, Any]] = []
    annotations: list[Any] = []
    length = 0
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
            length += len(part.text)
            annotations.extend(_annotations(part.citations, length, losses))
        elif isinstance(part, ToolUse):
            calls.append(_write_call(part))
        elif isinstance(part, Thinking):
            thinking.append(part)
        elif isinstance(part, Refusal):
            message["refusal"] = (message["refusal"] or "") + part.text
        elif isinstance(part, Audio):
            message["audio"] = {
                "id": part.id,
                "data": part.data,
                "transcript": part.transcript,
                "expires_at": 0,
            }
        elif isinstance(part, OpaquePart):
            losses.drop("answer.part")
    if texts:
        message["content"] = "".join(texts)
    if thinking:
        message["reasoning_content"] = "".join([part.text for part in thinking])
        message["reasoning_details"] = details_of_thinking(thinking)
    if calls:
        message["tool_calls"] = calls
    if annotations:
        message["annotations"] = annotations


def note_finish(reason: FinishReason, stop_sequence: str | None, losses: Losses) -> None:
    """Name what a finish reason says that the Chat API's cannot."""
    if reason in INEXACT_FINISH:
        losses.bend("answer.finish_reason")
    if stop_sequence is not None:
        losses.drop("answer.stop_sequence")


def _annotations(citations: list[Citation], text_end: int, losses: Losses) -> list[Any]:
    written = []
    for citation in citations:
        annotation = annotation_of_citation(citation, text_end)
        if annotation is None:
            losses.drop("answer.citations")
        else:
            if citation.dialect != NAME:
                losses.bend("answer.citations")
            written.append(annotation)
    return written


def _write_call(part: ToolUse) -> dict[str, Any]:
    if part.custom:
        custom = {"name": part.name, "input": part.arguments}
        return {"id": part.id, "type": "custom", "custom": custom}
    call: dict[str, Any] = {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": part.arguments or "{}"},
    }
    if part.signature:
        call["extra_content"] = google_content(part.signature)
    return call


def google_content(signature: str) -> dict[str, Any]:
    """Write the state of a call where Gemini's compatible endpoint keeps it."""
    return {"google": {"thought_signature": signature}}


# --- errors ---------------------------------------------------------------------------------

_KIND_OF_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def decode_error(status: int, body: bytes) -> WireError:
    """Read a refusal: `{"error": {…}}`, `{"error": "…"}`, or the object by itself."""
    try:
        fields = _decode_fields(body)
    except UNREADABLE:
        return error_of_status(status)
    raw = bytes(fields.get("error", b"null"))
    return error_of_object(body if raw == b"null" else raw, status)


def error_of_object(raw: bytes, status: int) -> WireError:
    """Read an `error` value; *status* is what it stands for if it does not say itself."""
    error = error_of_status(status)
    try:
        wire = ErrorObject(message=_decode_text(raw)) if raw[:1] == b'"' else _decode_error(raw)
    except UNREADABLE:
        return error
    if isinstance(wire.code, int) and 400 <= wire.code < 600 and status in (0, 200, 502):
        error = error_of_status(wire.code)
    error.message = wire.message or error.message
    error.kind = wire.type or error.kind
    error.code = "" if wire.code is None else str(wire.code)
    error.param = wire.param
    return error


def error_of_status(status: int) -> WireError:
    """Return what is known of an error by its status alone."""
    kind = _KIND_OF_STATUS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return WireError(status, f"The provider answered with status {status}.", kind)
