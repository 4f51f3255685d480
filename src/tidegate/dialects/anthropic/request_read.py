"""A Messages request in its neutral form, of either `anthropic-version`.

Source: `MessageCreateParams` and the block parameter types of the anthropic package, 2.x.
Version 2026-10-21 has fewer fields than 2023-06-01, none of another meaning, so one reader
serves both.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.anthropic.parts import NAME, read_citation
from tidegate.dialects.envelope import (
    Envelope,
    give_states_back,
    is_sealed,
    thinking_of_envelope,
    unseal,
)
from tidegate.dialects.neutral import (
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    OpaqueTool,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.reading import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXTS,
    Fields,
    Shape,
    json_text,
    note,
)
from tidegate.errors import BadRequest


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _CacheControl(_Strict):
    type: str = "ephemeral"
    ttl: str | None = None


class _TextBlock(_Strict):
    type: str
    text: str
    cache_control: _CacheControl | None = None
    citations: list[msgspec.Raw] | None = None


class _Source(_Strict):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class _ImageBlock(_Strict):
    type: str
    source: _Source
    cache_control: _CacheControl | None = None


class _Cites(_Strict):
    enabled: bool = True


class _DocumentBlock(_Strict):
    type: str
    source: _Source
    cache_control: _CacheControl | None = None
    citations: _Cites | None = None
    context: str | None = None
    title: str | None = None


class _ToolUseBlock(_Strict):
    type: str
    id: str
    name: str
    input: msgspec.Raw
    cache_control: _CacheControl | None = None


class _ToolResultBlock(_Strict):
    type: str
    tool_use_id: str
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None
    cache_control: _CacheControl | None = None


class _ThinkingBlock(_Strict):
    type: str
    thinking: str = ""
    signature: str | None = None


class _RedactedBlock(_Strict):
    type: str
    data: str


class _Message(_Strict):
    role: str
    content: str | list[msgspec.Raw]


class _Tool(_Strict):
    name: str
    input_schema: msgspec.Raw
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: _CacheControl | None = None


class _ToolChoice(_Strict):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(_Strict):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _Format(_Strict):
    type: str
    schema: msgspec.Raw = msgspec.Raw(b"null")


class _OutputConfig(_Strict):
    effort: str | None = None
    format: _Format | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


class _SourceKind(msgspec.Struct):
    source: _Kind | None = None


_BLOCKS: Shape[str | list[msgspec.Raw]] = Shape(str | list[msgspec.Raw])
_MESSAGES: Shape[list[_Message]] = Shape(list[_Message])
_TOOLS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])
_TOOL: Shape[_Tool] = Shape(_Tool)
_TOOL_CHOICE: Shape[_ToolChoice] = Shape(_ToolChoice)
_THINKING: Shape[_Thinking] = Shape(_Thinking)
_OUTPUT_CONFIG: Shape[_OutputConfig] = Shape(_OutputConfig)
_CACHE: Shape[_CacheControl] = Shape(_CacheControl)
_METADATA: Shape[dict[str, msgspec.Raw]] = Shape(dict[str, msgspec.Raw])
_KIND: Shape[_Kind] = Shape(_Kind)
_SOURCE_KIND: Shape[_SourceKind] = Shape(_SourceKind)
_TEXT_BLOCK: Shape[_TextBlock] = Shape(_TextBlock)
_IMAGE_BLOCK: Shape[_ImageBlock] = Shape(_ImageBlock)
_DOCUMENT_BLOCK: Shape[_DocumentBlock] = Shape(_DocumentBlock)
_TOOL_USE_BLOCK: Shape[_ToolUseBlock] = Shape(_ToolUseBlock)
_TOOL_RESULT_BLOCK: Shape[_ToolResultBlock] = Shape(_ToolResultBlock)
_THINKING_BLOCK: Shape[_ThinkingBlock] = Shape(_ThinkingBlock)
_REDACTED_BLOCK: Shape[_RedactedBlock] = Shape(_RedactedBlock)

_DEFAULTS = {"service_tier": (b'"auto"',), "speed": (b'"standard"',)}


def decode_request(body: bytes, *, counts_only: bool = False) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault.

    With *counts_only*, a `count_tokens` request, which has no limit of the output.
    """
    fields = Fields(body)
    request = NeutralRequest(NAME, fields.need("model", TEXT), [], include_usage=True)
    if counts_only:
        request.max_output_tokens = fields.take("max_tokens", INTEGER)
    else:
        request.max_output_tokens = fields.need("max_tokens", INTEGER)
    system = fields.take("system", _BLOCKS)
    if system is not None:
        request.system = _system(system, "system", fields.unread)
    messages = fields.need("messages", _MESSAGES)
    if not messages:
        raise BadRequest("'messages' must not be empty.", param="messages")
    request.messages = [
        _message(message, f"messages[{number}]", fields.unread)
        for number, message in enumerate(messages)
    ]
    _read_tools(request, fields)
    _read_rest(request, fields)
    request.extra = fields.left_over(_DEFAULTS)
    request.unread = fields.unread
    return request


def _read_rest(request: NeutralRequest, fields: Fields) -> None:
    request.temperature = fields.take("temperature", NUMBER)
    request.top_p = fields.take("top_p", NUMBER)
    request.top_k = fields.take("top_k", INTEGER)
    request.stop = fields.take("stop_sequences", TEXTS) or []
    request.stream = fields.take("stream", FLAG) or False
    cache = fields.take("cache_control", _CACHE)
    request.cache_last = _cache(cache)
    metadata = fields.take("metadata", _METADATA)
    if metadata is not None:
        user = metadata.pop("user_id", None)
        if user is not None and bytes(user) != b"null":
            request.user = TEXT.read(user, "metadata.user_id", fields.unread)
        if metadata:
            request.metadata = msgspec.json.encode(metadata)
    thinking = fields.take("thinking", _THINKING)
    config = fields.take("output_config", _OUTPUT_CONFIG)
    effort = None if config is None else config.effort
    if thinking is not None or effort is not None:
        request.reasoning = _reasoning(thinking, effort)
    if config is not None and config.format is not None:
        schema = bytes(config.format.schema)
        request.response_format = ResponseFormat(
            # The API holds every answer to its schema.
            "json_schema",
            schema=None if schema == b"null" else schema,
            strict=True,
        )


def _reasoning(thinking: _Thinking | None, effort: str | None) -> Reasoning:
    if thinking is None:
        return Reasoning(effort=effort)
    if thinking.type == "enabled":
        return Reasoning("budget", effort, thinking.budget_tokens, thinking.display)
    if thinking.type == "disabled":
        return Reasoning("off", effort)
    if thinking.type == "adaptive":
        return Reasoning("adaptive", effort, display=thinking.display)
    if thinking.type == "between_tools":
        return Reasoning("between_tools", effort)
    raise BadRequest("'thinking.type' is of no known kind.", param="thinking.type")


def _read_tools(request: NeutralRequest, fields: Fields) -> None:
    items = fields.take("tools", _TOOLS)
    for number, raw in enumerate(items or []):
        kind = _KIND.read(raw, f"tools[{number}]", []).type
        if kind is not None and kind != "custom":
            request.tools.append(OpaqueTool(NAME, kind, bytes(raw)))
            continue
        tool = _TOOL.read(raw, "tools[]", fields.unread)
        request.tools.append(
            Tool(
                tool.name,
                tool.description,
                bytes(tool.input_schema),
                tool.strict,
                cache=_cache(tool.cache_control),
            )
        )
    choice = fields.take("tool_choice", _TOOL_CHOICE)
    if choice is None:
        return
    modes = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
    if choice.type not in modes:
        raise BadRequest("'tool_choice.type' is not valid.", param="tool_choice.type")
    request.tool_choice = ToolChoice(modes[choice.type], choice.name)  # type: ignore[arg-type]  # by the table
    if choice.disable_parallel_tool_use is not None:
        request.parallel_tool_calls = not choice.disable_parallel_tool_use


def _message(wire: _Message, path: str, unread: list[str]) -> Message:
    if wire.role == "system":
        return Message("system", list(_system(wire.content, f"{path}.content", unread)))
    if wire.role not in ("user", "assistant"):
        raise BadRequest(f"'{path}.role' is no known role.", param=f"{path}.role")
    role = "user" if wire.role == "user" else "assistant"
    if isinstance(wire.content, str):
        return Message(role, [Text(wire.content)])  # type: ignore[arg-type]  # mypy widens it
    parts = [
        _block(raw, f"{path}.content[{number}]", unread) for number, raw in enumerate(wire.content)
    ]
    return Message(role, give_states_back(parts))  # type: ignore[arg-type]  # mypy widens it


def _system(content: str | list[msgspec.Raw], path: str, unread: list[str]) -> list[Text]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    parts: list[Text] = []
    for number, raw in enumerate(content):
        part = _block(raw, f"{path}[{number}]", unread)
        if not isinstance(part, Text):
            raise BadRequest(f"'{path}' may hold text only.", param=f"{path}[{number}].type")
        parts.append(part)
    return parts


def _block(raw: msgspec.Raw, path: str, unread: list[str]) -> Part | Envelope:
    kind = _KIND.read(raw, path, []).type or ""
    within = "messages[].content[]"
    if kind == "text":
        text = _TEXT_BLOCK.read(raw, within, unread)
        cited = [read_citation(citation) for citation in text.citations or ()]
        return Text(text.text, _cache(text.cache_control), cited)
    if kind == "tool_use":
        call = _TOOL_USE_BLOCK.read(raw, within, unread)
        return ToolUse(
            call.id, call.name, json_text(bytes(call.input)), cache=_cache(call.cache_control)
        )
    if kind == "tool_result":
        return _tool_result(_TOOL_RESULT_BLOCK.read(raw, within, unread), path, unread)
    if kind == "thinking":
        thought = _THINKING_BLOCK.read(raw, within, unread)
        if not is_sealed(thought.signature or ""):
            return Thinking(thought.thinking, thought.signature, origin=NAME)
        return _sealed(thought.signature or "", thought.thinking, f"{within}.signature", unread)
    if kind == "redacted_thinking":
        hidden = _REDACTED_BLOCK.read(raw, within, unread).data
        if not is_sealed(hidden):
            return Thinking(redacted=hidden, origin=NAME)
        return _sealed(hidden, "", f"{within}.data", unread)
    if kind == "image":
        image = _IMAGE_BLOCK.read(raw, within, unread)
        source, cache = image.source, _cache(image.cache_control)
        return Image(source.url, source.media_type, source.data, source.file_id, cache=cache)
    if kind == "document":
        source_kind = _SOURCE_KIND.read(raw, path, []).source
        if source_kind is not None and source_kind.type != "content":
            return _document(_DOCUMENT_BLOCK.read(raw, within, unread))
    return OpaquePart(NAME, kind, bytes(raw))


def _sealed(content: str, text: str, path: str, unread: list[str]) -> Thinking | Envelope:
    """Open what another provider's answer brought; the state of a call as its envelope."""
    envelope = unseal(content)
    if envelope is None:
        note(unread, path)
        return Thinking(text)
    return envelope if envelope.kind == "call" else thinking_of_envelope(envelope, text)


def _document(block: _DocumentBlock) -> Document:
    source = block.source
    text = source.data if source.type == "text" else ""
    return Document(
        source.media_type,
        "" if text else source.data,
        text,
        source.url,
        source.file_id,
        block.title,
        block.context,
        None if block.citations is None else block.citations.enabled,
        _cache(block.cache_control),
    )


def _tool_result(block: _ToolResultBlock, path: str, unread: list[str]) -> ToolResult:
    result = ToolResult(
        block.tool_use_id, [], block.is_error or False, cache=_cache(block.cache_control)
    )
    if isinstance(block.content, str):
        result.parts.append(Text(block.content))
        return result
    for number, raw in enumerate(block.content or ()):
        part = _block(raw, f"{path}.content[{number}]", unread)
        if not isinstance(part, (Text, Image, Document, OpaquePart)):
            raise BadRequest(
                f"'{path}.content' holds what no result can.", param=f"{path}.content[{number}]"
            )
        result.parts.append(part)
    return result


def _cache(marker: _CacheControl | None) -> CacheMarker | None:
    return None if marker is None else CacheMarker(marker.ttl)
