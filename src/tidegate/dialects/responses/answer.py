"""Whole responses, read from a target and written for a caller.

Source: `Response` and its output items of the openai package, 3.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tidegate.dialects.answer_reader import unix_time
from tidegate.dialects.encode import encode_json
from tidegate.dialects.envelope import envelope_of_call, seal
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Choice,
    Finish,
    FinishReason,
    NeutralAnswer,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolUse,
)
from tidegate.dialects.responses.errors import FlatError, error_of_flat
from tidegate.dialects.responses.parts import (
    NAME,
    annotation_of_citation,
    citation_of_annotation,
    logprob_items,
    logprobs_object,
    reasoning_item,
    sealed_thinking,
    unseal,
)
from tidegate.dialects.responses.usage import usage_object, usage_of_json
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer

_NULL = msgspec.Raw(b"null")


class ContentPart(msgspec.Struct):
    """A part of a message, or of a reasoning item."""

    type: str = ""
    text: str = ""
    refusal: str = ""
    annotations: list[msgspec.Raw] | None = None
    logprobs: list[msgspec.Raw] | None = None


class OutputItem(msgspec.Struct):
    """An item of `output`, whole or as a stream begins it."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class WireResponse(msgspec.Struct):
    """A response, whole or as an event of a stream holds it."""

    id: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: _Incomplete | None = None
    error: FlatError | None = None
    usage: msgspec.Raw = _NULL


decode_response = msgspec.json.Decoder(WireResponse).decode
decode_item = msgspec.json.Decoder(OutputItem).decode


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole response; raises `UnreadableAnswer`."""
    try:
        wire = decode_response(body)
        if wire.output is None and wire.error is None:
            raise UnreadableAnswer("the provider's answer is no response")
        parts, logprobs = parts_of_output(wire.output or [])
    except UNREADABLE as error:
        raise UnreadableAnswer(f"the provider's answer is no response ({error})") from None
    if wire.status in ("failed", "cancelled") or wire.error is not None:
        told = error_of_flat(wire.error or FlatError())
        raise UnreadableAnswer(f"the provider's response failed: {told.message}")
    choice = Choice(parts, finish_of(wire, parts), logprobs=logprobs_object(logprobs))
    return NeutralAnswer(
        wire.id or "",
        wire.model or "",
        [choice],
        usage_of_json(wire.usage),
        unix_time(wire.created_at),
    )


def parts_of_output(output: list[msgspec.Raw]) -> tuple[list[Part], list[msgspec.Raw]]:
    """Read output items; return the parts and the tokens' probabilities.

    Raises what `UNREADABLE` lists.
    """
    parts: list[Part] = []
    logprobs: list[msgspec.Raw] = []
    states: dict[str, str] = {}
    for raw in output:
        item = decode_item(raw)
        if item.type == "message":
            for content in item.content or ():
                parts.append(_content(content))
                logprobs.extend(content.logprobs or ())
        elif item.type == "reasoning":
            parts.extend(_thinking(item, states))
        elif item.type in ("function_call", "custom_tool_call"):
            custom = item.type == "custom_tool_call"
            identifier = item.call_id or item.id or f"call_{len(parts)}"
            arguments = (item.input if custom else item.arguments) or ""
            state = states.get(identifier, "")
            parts.append(ToolUse(identifier, item.name or "", arguments, custom, state))
        else:
            parts.append(OpaquePart(NAME, item.type, bytes(raw)))
    return parts, logprobs


def _content(content: ContentPart) -> Part:
    if content.type == "refusal":
        return Refusal(content.refusal)
    citations = [citation_of_annotation(found) for found in content.annotations or ()]
    return Text(content.text, None, citations)


def _thinking(item: OutputItem, states: dict[str, str]) -> list[Part]:
    text = "\n\n".join([words.text for words in item.summary or item.content or ()])
    content = item.encrypted_content
    envelope = None if content is None else unseal(content)
    if envelope is None:
        found: list[Part] = [Thinking(text)] if text else []
        if content:
            found.append(Thinking(redacted=content, origin=NAME))
        return found
    if envelope.kind == "call":
        states[envelope.call_id] = envelope.value
        return []
    if envelope.kind == "redacted":
        return [Thinking(redacted=envelope.value, origin=envelope.origin)]
    return [Thinking(text, envelope.value, origin=envelope.origin)]


def finish_of(wire: WireResponse, parts: list[Part]) -> FinishReason:
    """Read why a response ended."""
    if wire.status == "incomplete":
        reason = None if wire.incomplete_details is None else wire.incomplete_details.reason
        if reason == "max_output_tokens":
            return "length"
        return "refusal" if reason == "content_filter" else "other"
    if wire.status not in ("completed", None):
        return "other"
    if any(isinstance(part, ToolUse) for part in parts):
        return "tool_use"
    if any(isinstance(part, Refusal) for part in parts):
        return "refusal"
    return "stop"


# --- writing --------------------------------------------------------------------------------


def encode_answer(
    answer: NeutralAnswer, context: AnswerContext, echo: Mapping[str, Any]
) -> tuple[bytes, list[Loss]]:
    """Write a whole response; *echo* is what it says again of the request."""
    losses = Losses()
    choice = answer.choices[0]
    if len(answer.choices) > 1:
        losses.drop("answer.choices")
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    status, reason = status_of(Finish(choice.finish, choice.stop_sequence), refused, losses)
    output = _output(choice, context, "completed" if reason is None else "incomplete", losses)
    body = response_object(
        context,
        echo,
        created_s=answer.created_s,
        status=status,
        reason=reason,
        output=output,
        usage=answer.usage,
    )
    return encode_json(body), losses.listed()


def response_id(context: AnswerContext) -> str:
    """Return the id that the caller is told; ours, as it is we who keep the response."""
    return f"resp_{context.id}"


def item_id(prefix: str, context: AnswerContext, number: int) -> str:
    """Return the id of output item *number*; it holds its response's, see `response_of_item`."""
    return f"{prefix}_{context.id}_{number}"


def response_of_item(identifier: str) -> str:
    """Return the id of the response that an item of ours belongs to; empty for any other's."""
    prefix, _, rest = identifier.partition("_")
    core, _, number = rest.rpartition("_")
    return f"resp_{core}" if core and number.isdigit() and prefix in _PREFIXES else ""


_PREFIXES = frozenset({"msg", "rs", "fc", "ctc"})


def response_object(
    context: AnswerContext,
    echo: Mapping[str, Any],
    *,
    created_s: int,
    status: str,
    output: list[Any],
    reason: str | None = None,
    usage: Usage | None = None,
) -> dict[str, Any]:
    """Write a response as far as it is known; *reason* says why it is incomplete."""
    return {
        "id": response_id(context),
        "object": "response",
        "created_at": created_s or context.created_s,
        "status": status,
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": context.model,
        "output": output,
        "usage": None if usage is None else usage_object(usage),
        **echo,
    }


def status_of(finish: Finish, refused: bool, losses: Losses) -> tuple[str, str | None]:
    """Return the status of a response that ended so, and why it is incomplete.

    *refused*: whether it says itself that the model does not answer.
    """
    if finish.stop_sequence is not None:
        losses.drop("answer.stop_sequence")
    if finish.reason in ("pause", "context", "other"):
        losses.bend("answer.finish_reason")
    if finish.reason in ("length", "context"):
        return "incomplete", "max_output_tokens"
    if finish.reason == "refusal" and not refused:
        return "incomplete", "content_filter"
    return "completed", None


def message_item(identifier: str, content: list[Any], status: str) -> dict[str, Any]:
    """Write a message of the model."""
    return {
        "id": identifier,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def call_item(
    identifier: str, call_id: str, name: str, arguments: str, custom: bool, status: str
) -> dict[str, Any]:
    """Write a call of a function or of a tool that takes free text."""
    item: dict[str, Any] = {
        "id": identifier,
        "type": "custom_tool_call" if custom else "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
    }
    item["input" if custom else "arguments"] = arguments
    return item


def state_item(identifier: str, call_id: str, state: str) -> dict[str, Any]:
    """Write the state that a provider hung on a call as a reasoning item before the call."""
    return reasoning_item(identifier, "", seal(envelope_of_call(call_id, state)))


def _output(choice: Choice, context: AnswerContext, status: str, losses: Losses) -> list[Any]:
    output: list[Any] = []
    content: list[dict[str, Any]] = []
    logprobs = logprob_items(choice.logprobs)
    for part in choice.parts:
        number = len(output)
        if isinstance(part, (Text, Refusal)):
            if not content:
                output.append(message_item(item_id("msg", context, number), content, status))
            written = _write_content(part, logprobs, losses)
            if isinstance(part, Text):
                logprobs = []
            content.append(written)
            continue
        content = []
        if isinstance(part, Thinking):
            identifier = item_id("rs", context, number)
            output.append(reasoning_item(identifier, part.text, sealed_thinking(part)))
        elif isinstance(part, ToolUse):
            if part.signature:
                output.append(state_item(item_id("rs", context, number), part.id, part.signature))
                number += 1
            identifier = item_id("ctc" if part.custom else "fc", context, number)
            arguments = part.arguments if part.custom else part.arguments or "{}"
            output.append(call_item(identifier, part.id, part.name, arguments, part.custom, status))
        elif isinstance(part, OpaquePart) and part.dialect == NAME:
            output.append(msgspec.Raw(part.raw))
        else:
            losses.drop("answer.part" if isinstance(part, OpaquePart) else "answer.audio")
    return output


def _write_content(
    part: Text | Refusal, logprobs: list[msgspec.Raw], losses: Losses
) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    annotations = []
    for citation in part.citations:
        annotation = annotation_of_citation(citation, len(part.text))
        if annotation is None:
            losses.drop("answer.citations")
            continue
        if citation.dialect != NAME:
            losses.bend("answer.citations")
        annotations.append(annotation)
    return {
        "type": "output_text",
        "text": part.text,
        "annotations": annotations,
        "logprobs": logprobs,
    }
