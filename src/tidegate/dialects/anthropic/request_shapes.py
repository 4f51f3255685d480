"""Shapes of a Messages request's JSON. Unknown fields are found by `reading.Shape`.

Source: `MessageCreateParams` and the block parameter types of the anthropic package, 2.x.
"""

# ruff: noqa: D101 (a class is the JSON object of its name)

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from tidegate.dialects.reading import Body, Shape


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class CacheControl(Strict):
    type: str = "ephemeral"
    ttl: str | None = None


class TextBlock(Strict, tag_field="type", tag="text"):
    text: str
    cache_control: CacheControl | None = None
    citations: list[msgspec.Raw] | None = None


class Source(Strict):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class ImageBlock(Strict, tag_field="type", tag="image"):
    source: Source
    cache_control: CacheControl | None = None


class Cites(Strict):
    enabled: bool = True


class DocumentBlock(Strict, tag_field="type", tag="document"):
    source: Source
    cache_control: CacheControl | None = None
    citations: Cites | None = None
    context: str | None = None
    title: str | None = None


class ToolUseBlock(Strict, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None


class ToolResultBlock(Strict, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(Strict, tag_field="type", tag="thinking"):
    thinking: str = ""
    signature: str | None = None


class RedactedBlock(Strict, tag_field="type", tag="redacted_thinking"):
    data: str


# What names its kind in `type` is read by that name. Where a list may hold kinds that are not known
# here, and it does, the body is read field by field and the list's items one by one.


class KnownSource(Source):
    type: Literal["base64", "text", "url", "file"]


class KnownDocument(DocumentBlock, tag_field="type", tag="document"):
    source: KnownSource


KnownPart: TypeAlias = TextBlock | ImageBlock | KnownDocument


class KnownResult(ToolResultBlock, tag_field="type", tag="tool_result"):
    content: str | list[KnownPart] | None = None  # type: ignore[assignment]  # no other parts


KnownBlock: TypeAlias = KnownPart | ToolUseBlock | KnownResult | ThinkingBlock | RedactedBlock
Block: TypeAlias = KnownBlock | DocumentBlock | ToolResultBlock


class Message(Strict):
    role: str
    content: str | list[KnownBlock]


class MessageApart(Message):
    content: str | list[msgspec.Raw]  # type: ignore[assignment]  # blocks of any kind


class Tool(Strict):
    name: str
    input_schema: msgspec.Raw
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None


class KnownTool(Tool):
    type: Literal["custom"] | None = None


class ToolChoice(Strict):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(Strict):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Format(Strict):
    type: str
    schema: msgspec.Raw = msgspec.Raw(b"null")


class OutputConfig(Strict):
    effort: str | None = None
    format: Format | None = None


class Request(Strict, kw_only=True):
    model: str
    max_tokens: int
    system: str | list[TextBlock] | None = None
    messages: list[Message]
    tools: list[KnownTool] | None = None
    tool_choice: ToolChoice | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    cache_control: CacheControl | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class CountRequest(Request, kw_only=True):
    max_tokens: int | None = None  # type: ignore[assignment]  # counting has no output


class Kind(msgspec.Struct):
    type: str | None = None


class SourceKind(msgspec.Struct):
    source: Kind | None = None


_ITEMS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])
_APART: dict[str, Shape[Any]] = {
    "messages": Shape(list[MessageApart]),
    "system": Shape(str | list[msgspec.Raw]),
    "tools": _ITEMS,
}
REQUEST: Body[Request] = Body(Request, _APART)
COUNT_REQUEST: Body[Request] = Body(CountRequest, _APART)
TOOL: Shape[Tool] = Shape(Tool)
KIND: Shape[Kind] = Shape(Kind)
SOURCE_KIND: Shape[SourceKind] = Shape(SourceKind)
BLOCKS: dict[str, Shape[Block]] = {
    "text": Shape(TextBlock),
    "tool_use": Shape(ToolUseBlock),
    "tool_result": Shape(ToolResultBlock),
    "thinking": Shape(ThinkingBlock),
    "redacted_thinking": Shape(RedactedBlock),
    "image": Shape(ImageBlock),
    "document": Shape(DocumentBlock),
}
