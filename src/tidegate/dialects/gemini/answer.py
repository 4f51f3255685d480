"""Whole answers of the Gemini API, read from a target and written for a caller.

Source: `GenerateContentResponse` and `Candidate` of the google-genai package, 3.x.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json, json_object
from tidegate.dialects.envelope import envelope_of_thinking, seal_base64
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.gemini.parts import (
    FINISH_BENT,
    FINISH_READ,
    FINISH_WRITE,
    NAME,
    read_usage,
    usage_object,
)
from tidegate.dialects.neutral import (
    Audio,
    Choice,
    Citation,
    FinishReason,
    Image,
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

_NULL = msgspec.Raw(b"null")


class _Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _Call(msgspec.Struct, rename="camel"):
    name: str = ""
    id: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")


class WirePart(msgspec.Struct, rename="camel"):
    """One part of a candidate's content."""

    text: str | None = None
    thought: bool = False
    thought_signature: str = ""
    function_call: _Call | None = None
    inline_data: _Blob | None = None


class _Content(msgspec.Struct):
    parts: list[msgspec.Raw] | None = None


class _Web(msgspec.Struct):
    uri: str = ""
    title: str = ""


class _Chunk(msgspec.Struct):
    web: _Web | None = None


class _Source(msgspec.Struct, rename="camel"):
    start_index: int = 0
    end_index: int | None = None
    uri: str = ""
    title: str = ""


class _Cited(msgspec.Struct, rename="camel"):
    citation_sources: list[_Source] | None = None
    citations: list[_Source] | None = None


class _Grounding(msgspec.Struct, rename="camel"):
    grounding_chunks: list[_Chunk] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    """One alternative, or a piece of it."""

    content: _Content | None = None
    finish_reason: str | None = None
    index: int = 0
    citation_metadata: _Cited | None = None
    grounding_metadata: _Grounding | None = None
    logprobs_result: msgspec.Raw = _NULL


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class WireAnswer(msgspec.Struct, rename="camel"):
    """A whole answer, or one event of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = msgspec.Raw(b"null")
    model_version: str = ""
    response_id: str = ""
    error: msgspec.Raw = _NULL


decode_wire = msgspec.json.Decoder(WireAnswer).decode
_decode_part = msgspec.json.Decoder(WirePart).decode


def read_part(raw: msgspec.Raw, call_id: str) -> list[Part]:
    """Read one part; *call_id* names a call to which the provider gave no id."""
    part = _decode_part(raw)
    if part.function_call is not None:
        call = part.function_call
        return [
            ToolUse(
                call.id or call_id,
                call.name,
                str(bytes(call.args), "utf-8"),
                signature=part.thought_signature,
            )
        ]
    if part.inline_data is not None:
        blob = part.inline_data
        if blob.mime_type.startswith("audio/"):
            return [Audio(blob.data, blob.mime_type.partition("/")[2])]
        return [Image(mime=blob.mime_type, data=blob.data)]
    if part.text is None and not part.thought_signature:
        return [OpaquePart(NAME, "part", bytes(raw))]
    text = part.text or ""
    if part.thought:
        return [Thinking(text, part.thought_signature or None, origin=NAME)]
    parts: list[Part] = [Text(text)] if text else []
    if part.thought_signature:
        # Thinking that is not shown: its proof stands on the text that it led to.
        parts.insert(0, Thinking("", part.thought_signature, origin=NAME))
    return parts


def read_finish(reason: str, *, calls: bool) -> FinishReason:
    """Return what a finish reason means; a stop after calls is a wait for their results."""
    finish = FINISH_READ.get(reason, "other")
    return "tool_use" if finish == "stop" and calls else finish


def read_citations(candidate: Candidate) -> list[Citation]:
    """Return the sources that a candidate names."""
    cited, grounding = candidate.citation_metadata, candidate.grounding_metadata
    sources = [] if cited is None else cited.citation_sources or cited.citations or []
    chunks = [] if grounding is None else grounding.grounding_chunks or []
    return [
        Citation(url=one.uri, title=one.title, start=one.start_index, end=one.end_index)
        for one in sources
        if one.uri
    ] + [
        Citation(url=chunk.web.uri, title=chunk.web.title)
        for chunk in chunks
        if chunk.web is not None and chunk.web.uri
    ]


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole answer; raises `UnreadableAnswer`."""
    try:
        wire = decode_wire(body)
        choices = [
            _choice(candidate, wire.response_id or "0") for candidate in wire.candidates or ()
        ]
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer cannot be read ({error}).") from None
    if not choices:
        if wire.prompt_feedback is None or wire.prompt_feedback.block_reason is None:
            raise UnreadableAnswer("The provider's answer holds no candidate.")
        choices = [Choice([Refusal("The prompt was blocked by the provider.")], "refusal")]
    usage = read_usage(wire.usage_metadata)
    return NeutralAnswer(wire.response_id, wire.model_version, choices, usage)


def _choice(candidate: Candidate, answer_id: str) -> Choice:
    parts: list[Part] = []
    raw_parts = candidate.content.parts if candidate.content is not None else None
    for number, raw in enumerate(raw_parts or ()):
        for part in read_part(raw, f"call_{answer_id}_{candidate.index}_{number}"):
            last = parts[-1] if parts else None
            if isinstance(part, Text) and isinstance(last, Text):
                last.text += part.text
            else:
                parts.append(part)
    citations = read_citations(candidate)
    if citations:
        texts = [part for part in parts if isinstance(part, Text)]
        if texts:
            texts[-1].citations = citations
    calls = any(isinstance(part, ToolUse) for part in parts)
    finish = read_finish(candidate.finish_reason or "STOP", calls=calls)
    return Choice(parts, finish, index=candidate.index)


# --- writing --------------------------------------------------------------------------------


def encode_answer(answer: NeutralAnswer, context: AnswerContext) -> tuple[bytes, list[Loss]]:
    """Write a whole answer.

    Raises `UnreadableAnswer` when a tool was called with what is no JSON object.
    """
    losses = Losses()
    body = {
        "candidates": [_write_choice(choice, losses) for choice in answer.choices],
        "usageMetadata": usage_object(answer.usage or Usage()),
        "modelVersion": context.model,
        "responseId": answer.id or context.id,
    }
    return encode_json(body), losses.listed()


def _write_choice(choice: Choice, losses: Losses) -> dict[str, Any]:
    cut = choice.finish == "length"
    parts = [
        written for part in choice.parts if (written := write_part(part, cut, losses)) is not None
    ]
    if choice.logprobs is not None:
        losses.drop("answer.logprobs")
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": parts},
        "finishReason": write_finish(choice.finish, choice.stop_sequence, losses),
        "index": choice.index,
    }
    citations = [c for part in choice.parts if isinstance(part, Text) for c in part.citations]
    sources = write_citations(citations, losses)
    if sources:
        candidate["citationMetadata"] = {"citationSources": sources}
    return candidate


def write_finish(finish: FinishReason, stop_sequence: str | None, losses: Losses) -> str:
    """Return the finish reason, naming what it cannot say."""
    if finish in FINISH_BENT or finish == "other":
        losses.bend("answer.finish_reason")
    if stop_sequence is not None:
        losses.drop("answer.stop_sequence")
    return FINISH_WRITE[finish]


def write_citations(citations: list[Citation], losses: Losses) -> list[dict[str, Any]]:
    """Write sources with an address; others are named and left out."""
    written = []
    for citation in citations:
        if not citation.url:
            losses.drop("answer.citations")
            continue
        if citation.cited_text:
            losses.bend("answer.citations")
        source: dict[str, Any] = {"uri": citation.url}
        if citation.title:
            source["title"] = citation.title
        if citation.start is not None:
            source["startIndex"] = citation.start
        if citation.end is not None:
            source["endIndex"] = citation.end
        written.append(source)
    return written


def write_part(part: Part, cut: bool, losses: Losses) -> dict[str, Any] | None:
    """Write one part of an answer; None for what is named as lost."""
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, ToolUse):
        return write_call(part, cut, losses)
    if isinstance(part, Thinking):
        written: dict[str, Any] = {"text": part.text, "thought": True}
        if part.signature or part.redacted is not None:
            written["thoughtSignature"] = signature_of(part)
        return written
    if isinstance(part, Refusal):
        losses.bend("answer.refusal")
        return {"text": part.text}
    if isinstance(part, Image) and part.data:
        return {"inlineData": {"mimeType": part.mime or "image/png", "data": part.data}}
    if isinstance(part, Audio) and part.data:
        return {"inlineData": {"mimeType": f"audio/{part.format or 'wav'}", "data": part.data}}
    if isinstance(part, OpaquePart) and part.dialect == NAME:
        return msgspec.json.decode(part.raw, type=dict[str, Any])
    losses.drop("answer.audio" if isinstance(part, Audio) else "answer.part")
    return None


def signature_of(part: Thinking) -> str:
    """Return the proof of thinking: this API's own, or another's sealed."""
    if part.origin == NAME and part.signature:
        return part.signature
    return seal_base64(envelope_of_thinking(part))


def write_call(part: ToolUse, cut: bool, losses: Losses) -> dict[str, Any]:
    """Write a call; raises `UnreadableAnswer` for arguments that are no JSON object."""
    if part.custom:
        arguments: bytes | None = encode_json({"input": part.arguments})
    else:
        arguments = json_object(part.arguments)
    if arguments is None:
        if not cut:
            raise UnreadableAnswer(
                "The model called a tool with arguments that are no JSON object."
            )
        losses.bend("answer.tool_arguments")
        arguments = b"{}"
    # As the model wrote them, but for line ends: those would end the line of an event as well.
    one_line = arguments.replace(b"\r", b" ").replace(b"\n", b" ")
    call: dict[str, Any] = {"name": part.name, "args": msgspec.Raw(one_line)}
    if part.id:
        call["id"] = part.id
    written: dict[str, Any] = {"functionCall": call}
    if part.signature:
        written["thoughtSignature"] = part.signature
    return written
