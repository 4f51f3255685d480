"""Whole answers of the Messages API, read from a target and written for a caller.

Source: `Message` and the block types of the anthropic package, 2.x.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tidegate.dialects.anthropic.parts import (
    FINISH_READ,
    FINISH_WRITE,
    KIN,
    NAME,
    read_citation,
    write_citation,
)
from tidegate.dialects.anthropic.usage import (
    WireUsage,
    neutral_usage,
    read_usage,
    usage_object,
)
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


class _KnownBlock(Block):
    type: Literal["text", "tool_use", "thinking", "redacted_thinking"]


class _KnownMessage(_Message):
    """A message with nothing in it that must be kept as it is: it can be read in one go."""

    content: list[_KnownBlock]  # type: ignore[assignment]  # no other blocks
    usage: WireUsage | None = None  # type: ignore[assignment]  # a usage that is one


_decode_known = msgspec.json.Decoder(_KnownMessage).decode
_decode_message = msgspec.json.Decoder(_Message).decode
decode_block = msgspec.json.Decoder(Block).decode


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole answer; raises `UnreadableAnswer`."""
    wire: _Message
    parts: list[Part]
    try:
        known = _decode_known(body)
    except UNREADABLE:
        wire, parts = _read_apart(body)
        usage = read_usage(wire.usage)
    else:
        wire, usage = known, known.usage
        parts = []
        for block in known.content:
            if block.type != "text" or block.citations:
                parts.append(_part_of(block))
            elif block.text:
                parts.append(Text(block.text))
    finish = FINISH_READ.get(wire.stop_reason or "end_turn", "other")
    if finish == "refusal" and wire.stop_details is not None and wire.stop_details.explanation:
        parts.append(Refusal(wire.stop_details.explanation))
    return NeutralAnswer(
        wire.id,
        wire.model,
        [Choice(parts, finish, wire.stop_sequence)],
        None if usage is None else neutral_usage(usage),
    )


def _read_apart(body: bytes) -> tuple[_Message, list[Part]]:
    """Read an answer block by block, so that what is not known of it can be kept as it is."""
    parts: list[Part] = []
    try:
        wire = _decode_message(body)
        for raw in wire.content:
            block = decode_block(raw)
            if block.type not in _KNOWN:
                parts.append(OpaquePart(NAME, block.type, bytes(raw)))
            elif block.type != "text" or block.text or block.citations:
                parts.append(_part_of(block))
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer is no message ({error}).") from None
    return wire, parts


_KNOWN = ("text", "tool_use", "thinking", "redacted_thinking")


def _part_of(block: Block) -> Part:
    """Return the part that a block of a kind that is known stands for."""
    kind = block.type
    if kind == "text":
        return Text(
            block.text, None, [read_citation(citation) for citation in block.citations or ()]
        )
    if kind == "tool_use":
        return ToolUse(block.id, block.name, str(bytes(block.input), "utf-8"))
    if kind == "thinking":
        return Thinking(block.thinking, block.signature, origin=NAME)
    return Thinking(redacted=block.data, origin=NAME)


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
    blocks: list[dict[str, Any]] = []
    for part in choice.parts:
        if type(part) is Text and not part.citations:
            blocks.append({"type": "text", "text": part.text})
            continue
        if isinstance(part, ToolUse) and part.signature:
            blocks.append(sealed_block(envelope_of_call(part.id, part.signature)))
        block = _write_part(part, choice.finish == "length", losses)
        if block is not None:
            blocks.append(block)
    body = {
        "id": answer.id or answer_id("", context),
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": blocks,
        "stop_reason": FINISH_WRITE[choice.finish],
        "stop_sequence": choice.stop_sequence,
        "usage": usage_object(answer.usage or Usage()),
    }
    return encode_json(body), losses.listed() if losses else []


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
