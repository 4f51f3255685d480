"""Whole answers of the Messages API, read from a target and written for a caller.

Source: `Message` and the block types of the anthropic package, 2.x.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.anthropic.parts import (
    FINISH_READ,
    FINISH_WRITE,
    KIN,
    NAME,
    read_citation,
    write_citation,
)
from tidegate.dialects.anthropic.usage import neutral_usage, read_usage, usage_object
from tidegate.dialects.encode import encode_json, json_object
from tidegate.dialects.envelope import (
    Envelope,
    envelope_of_call,
    envelope_of_thinking,
    seal,
)
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Audio,
    Choice,
    Citation,
    NeutralAnswer,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolUse,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer


class StopDetails(msgspec.Struct):
    """Why the provider refused, where it says so."""

    explanation: str | None = None


class Block(msgspec.Struct):
    """A content block, whole or as a stream begins it."""

    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    citations: list[msgspec.Raw] | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decode_message = msgspec.json.Decoder(_Message).decode
decode_block = msgspec.json.Decoder(Block).decode


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole answer; raises `UnreadableAnswer`."""
    try:
        wire = _decode_message(body)
        parts = [part for raw in wire.content if (part := read_block(raw)) is not None]
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer is no message ({error}).") from None
    finish = FINISH_READ.get(wire.stop_reason or "end_turn", "other")
    explanation = None if wire.stop_details is None else wire.stop_details.explanation
    if finish == "refusal" and explanation:
        parts.append(Refusal(explanation))
    usage = read_usage(wire.usage)
    return NeutralAnswer(
        wire.id,
        wire.model,
        [Choice(parts, finish, wire.stop_sequence)],
        None if usage is None else neutral_usage(usage),
    )


def read_block(raw: msgspec.Raw) -> Part | None:
    """Read a content block; None for an empty text."""
    block = decode_block(raw)
    kind = block.type
    if kind == "text":
        cited = [read_citation(citation) for citation in block.citations or ()]
        return Text(block.text, None, cited) if block.text or cited else None
    if kind == "tool_use":
        return ToolUse(block.id, block.name, str(bytes(block.input), "utf-8"))
    if kind == "thinking":
        return Thinking(block.thinking, block.signature, origin=NAME)
    if kind == "redacted_thinking":
        return Thinking(redacted=block.data, origin=NAME)
    return OpaquePart(NAME, kind, bytes(raw))


def encode_answer(answer: NeutralAnswer, context: AnswerContext) -> tuple[bytes, list[Loss]]:
    """Write a whole answer; the first of several alternatives is all that fits.

    Raises `UnreadableAnswer` when a tool was called with what is no JSON object: the caller
    would run it with other arguments than the model meant.
    """
    losses = Losses()
    choice = answer.choices[0]
    if len(answer.choices) > 1:
        losses.drop("answer.choices")
    if choice.logprobs is not None:
        losses.drop("answer.logprobs")
    if choice.finish == "other":
        losses.bend("answer.finish_reason")
    cut = choice.finish == "length"
    blocks = []
    for part in choice.parts:
        if isinstance(part, ToolUse) and part.signature:
            blocks.append(sealed_block(envelope_of_call(part.id, part.signature)))
        block = _write_part(part, cut, losses)
        if block is not None:
            blocks.append(block)
    body = {
        "id": answer_id(answer.id, context),
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": blocks,
        "stop_reason": FINISH_WRITE[choice.finish],
        "stop_sequence": choice.stop_sequence,
        "usage": usage_object(answer.usage or Usage()),
    }
    return encode_json(body), losses.listed()


def answer_id(upstream: str, context: AnswerContext) -> str:
    """Return the id that the caller is told."""
    return upstream or f"msg_{context.id}"


def _write_part(part: Part, cut: bool, losses: Losses) -> dict[str, Any] | None:
    if isinstance(part, Text):
        block: dict[str, Any] = {"type": "text", "text": part.text}
        if part.citations:
            block["citations"] = write_citations(part.citations, losses)
        return block
    if isinstance(part, ToolUse):
        return {
            "type": "tool_use",
            "id": part.id,
            "name": part.name,
            "input": msgspec.Raw(_input(part, cut, losses)),
        }
    if isinstance(part, Thinking):
        return _write_thinking(part)
    if isinstance(part, Refusal):
        return {"type": "text", "text": part.text}
    if isinstance(part, OpaquePart) and part.dialect == NAME:
        return msgspec.json.decode(part.raw, type=dict[str, Any])
    if isinstance(part, Audio) and part.transcript:
        losses.bend("answer.audio")
        return {"type": "text", "text": part.transcript}
    losses.drop("answer.audio" if isinstance(part, Audio) else "answer.part")
    return None


def _write_thinking(part: Thinking) -> dict[str, Any] | None:
    if part.redacted is not None:
        if part.origin in KIN:
            return {"type": "redacted_thinking", "data": part.redacted}
        return sealed_block(envelope_of_thinking(part))
    if part.text or (part.signature and part.origin in KIN):
        return {"type": "thinking", "thinking": part.text, "signature": signature_of(part)}
    return sealed_block(envelope_of_thinking(part)) if part.signature else None


def signature_of(part: Thinking) -> str:
    """Return the proof of readable thinking: the caller's own kind, or another's sealed.

    Thinking that was not signed gets one too, so that no provider ever sees it as its own.
    """
    if part.origin in KIN and part.signature:
        return part.signature
    return seal(envelope_of_thinking(part))


def sealed_block(envelope: Envelope) -> dict[str, Any]:
    """Write state of another provider as thinking that only its provider can read.

    SDKs keep such a block in its place, and have to send it back; the id of a call has no room
    for state (providers bound it to some 40 characters of few signs).
    """
    return {"type": "redacted_thinking", "data": seal(envelope)}


def _input(part: ToolUse, cut: bool, losses: Losses) -> bytes:
    if part.custom:
        return encode_json({"input": part.arguments})
    arguments = json_object(part.arguments)
    if arguments is not None:
        return arguments
    if cut:
        # The limit fell amid the arguments; the stop reason tells, no caller runs such a call.
        losses.bend("answer.tool_arguments")
        return b"{}"
    raise UnreadableAnswer("The model called a tool with arguments that are no JSON object.")


def write_citations(citations: list[Citation], losses: Losses) -> list[Any]:
    """Write citations; those without an address in another dialect are named and left out."""
    written = []
    for citation in citations:
        item = write_citation(citation)
        if item is None:
            losses.drop("answer.citations")
            continue
        if citation.dialect != NAME:
            losses.bend("answer.citations")
        written.append(item)
    return written
