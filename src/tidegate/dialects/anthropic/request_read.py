"""A Messages request in its neutral form, of either `anthropic-version`.

Source: `MessageCreateParams` and the block parameter types of the anthropic package, 2.x.
Version 2026-10-21 has fewer fields than 2023-06-01, none of another meaning, so one reader
serves both.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.dialects.anthropic import request_shapes as shapes
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
    TEXT,
    check_kept,
    check_request,
    json_text,
    note,
)
from tidegate.errors import BadRequest

_DEFAULTS = {"service_tier": (b'"auto"',), "speed": (b'"standard"',)}


def decode_request(body: bytes, *, counts_only: bool = False) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault.

    With *counts_only*, a `count_tokens` request, which has no limit of the output.
    """
    wire, fields = (shapes.COUNT_REQUEST if counts_only else shapes.REQUEST).read(body)
    unread: list[str] = [] if fields is None else fields.unread
    request = NeutralRequest(NAME, wire.model, [], include_usage=True, unread=unread)
    request.max_output_tokens = wire.max_tokens
    if wire.system:
        request.system = _system(wire.system, "system", unread)
    if not wire.messages:
        raise BadRequest("'messages' must not be empty.", param="messages")
    plain = True  # no piece of JSON is kept as it is
    turns = request.messages
    for number, message in enumerate(wire.messages):
        role, content = message.role, message.content
        if type(content) is str and role in ("user", "assistant"):
            turns.append(Message(role, [Text(content)]))  # type: ignore[arg-type]  # mypy widens it
        else:
            plain = False
            turns.append(_message(message, f"messages[{number}]", unread))
    if wire.tools is not None:
        plain = False
        request.tools = [
            _tool(item, f"tools[{number}]", unread) for number, item in enumerate(wire.tools)
        ]
    if wire.tool_choice is not None:
        _read_tool_choice(request, wire.tool_choice)
    if wire.temperature is not None:
        request.temperature = wire.temperature
    if wire.top_p is not None:
        request.top_p = wire.top_p
    if wire.top_k is not None:
        request.top_k = wire.top_k
    if wire.stop_sequences is not None:
        request.stop = wire.stop_sequences
    if wire.stream:
        request.stream = True
    if wire.cache_control is not None:
        request.cache_last = _cache(wire.cache_control)
    if wire.metadata is not None:
        plain = False
        _read_metadata(request, wire.metadata, unread)
    if wire.thinking is not None or wire.output_config is not None:
        plain = False
        _read_output(request, wire)
    if fields is not None:
        request.extra = fields.left_over(_DEFAULTS)
    elif not plain or type(wire.system) is list:
        check_kept(body)
    return request if plain else check_request(request)


def _read_metadata(
    request: NeutralRequest, metadata: dict[str, msgspec.Raw], unread: list[str]
) -> None:
    user = metadata.pop("user_id", None)
    if user is not None and bytes(user) != b"null":
        request.user = TEXT.read(user, "metadata.user_id", unread)
    if metadata:
        request.metadata = msgspec.json.encode(metadata)


def _read_output(request: NeutralRequest, wire: shapes.Request) -> None:
    thinking, config = wire.thinking, wire.output_config
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


def _reasoning(thinking: shapes.Thinking | None, effort: str | None) -> Reasoning:
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


def _tool(item: shapes.Tool | msgspec.Raw, path: str, unread: list[str]) -> Tool | OpaqueTool:
    if isinstance(item, msgspec.Raw):
        kind = shapes.KIND.read(item, path, []).type
        if kind is not None and kind != "custom":
            return OpaqueTool(NAME, kind, bytes(item))
        item = shapes.TOOL.read(item, "tools[]", unread)
    return Tool(
        item.name,
        item.description,
        bytes(item.input_schema),
        item.strict,
        cache=_cache(item.cache_control),
    )


def _read_tool_choice(request: NeutralRequest, choice: shapes.ToolChoice) -> None:
    modes = {"auto": "auto", "any": "required", "none": "none", "tool": "tool"}
    if choice.type not in modes:
        raise BadRequest("'tool_choice.type' is not valid.", param="tool_choice.type")
    request.tool_choice = ToolChoice(modes[choice.type], choice.name)  # type: ignore[arg-type]  # by the table
    if choice.disable_parallel_tool_use is not None:
        request.parallel_tool_calls = not choice.disable_parallel_tool_use


def _message(wire: shapes.Message, path: str, unread: list[str]) -> Message:
    content, role = wire.content, wire.role
    if role == "system":
        return Message("system", list(_system(content, f"{path}.content", unread)))
    if role not in ("user", "assistant"):
        raise BadRequest(f"'{path}.role' is no known role.", param=f"{path}.role")
    if isinstance(content, str):
        return Message(role, [Text(content)])  # type: ignore[arg-type]  # mypy widens it
    parts = [
        _part(block, f"{path}.content[{number}]", unread) for number, block in enumerate(content)
    ]
    return Message(role, give_states_back(parts))  # type: ignore[arg-type]  # mypy widens it


def _system(
    content: str | Sequence[shapes.Block | msgspec.Raw], path: str, unread: list[str]
) -> list[Text]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    parts: list[Text] = []
    for number, block in enumerate(content):
        part = _part(block, f"{path}[{number}]", unread)
        if not isinstance(part, Text):
            raise BadRequest(f"'{path}' may hold text only.", param=f"{path}[{number}].type")
        parts.append(part)
    return parts


def _part(block: shapes.Block | msgspec.Raw, path: str, unread: list[str]) -> Part | Envelope:
    within = "messages[].content[]"
    if isinstance(block, msgspec.Raw):
        kind = shapes.KIND.read(block, path, []).type or ""
        shape = shapes.BLOCKS.get(kind)
        if shape is None or (kind == "document" and not _is_whole(block, path)):
            return OpaquePart(NAME, kind, bytes(block))
        block = shape.read(block, within, unread)
    if isinstance(block, shapes.TextBlock):
        cited = [read_citation(citation) for citation in block.citations or ()]
        return Text(block.text, _cache(block.cache_control), cited)
    if isinstance(block, shapes.ToolUseBlock):
        return ToolUse(
            block.id, block.name, json_text(bytes(block.input)), cache=_cache(block.cache_control)
        )
    if isinstance(block, shapes.ToolResultBlock):
        return _tool_result(block, path, unread)
    if isinstance(block, shapes.ThinkingBlock):
        if not is_sealed(block.signature or ""):
            return Thinking(block.thinking, block.signature, origin=NAME)
        return _sealed(block.signature or "", block.thinking, f"{within}.signature", unread)
    if isinstance(block, shapes.RedactedBlock):
        if not is_sealed(block.data):
            return Thinking(redacted=block.data, origin=NAME)
        return _sealed(block.data, "", f"{within}.data", unread)
    if isinstance(block, shapes.ImageBlock):
        source, cache = block.source, _cache(block.cache_control)
        return Image(source.url, source.media_type, source.data, source.file_id, cache=cache)
    return _document(block)


def _is_whole(block: msgspec.Raw, path: str) -> bool:
    """Whether a document is one piece, and not a list of blocks, which no other dialect has."""
    source = shapes.SOURCE_KIND.read(block, path, []).source
    return source is not None and source.type != "content"


def _sealed(content: str, text: str, path: str, unread: list[str]) -> Thinking | Envelope:
    """Open what another provider's answer brought; the state of a call as its envelope."""
    envelope = unseal(content)
    if envelope is None:
        note(unread, path)
        return Thinking(text)
    return envelope if envelope.kind == "call" else thinking_of_envelope(envelope, text)


def _document(block: shapes.DocumentBlock) -> Document:
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


def _tool_result(block: shapes.ToolResultBlock, path: str, unread: list[str]) -> ToolResult:
    result = ToolResult(
        block.tool_use_id, [], block.is_error or False, cache=_cache(block.cache_control)
    )
    if isinstance(block.content, str):
        result.parts.append(Text(block.content))
        return result
    for number, inner in enumerate(block.content or ()):
        part = _part(inner, f"{path}.content[{number}]", unread)
        if not isinstance(part, (Text, Image, Document, OpaquePart)):
            raise BadRequest(
                f"'{path}.content' holds what no result can.", param=f"{path}.content[{number}]"
            )
        result.parts.append(part)
    return result


def _cache(marker: shapes.CacheControl | None) -> CacheMarker | None:
    return None if marker is None else CacheMarker(marker.ttl)
