"""A Chat Completions request in its neutral form.

Source: `CompletionCreateParams` and the message parameter types of the openai package, 3.x,
with the fields that compatible servers and clients have added (`cache_control` on parts,
`reasoning_content` and `reasoning_details` on messages, `extra_content` on tool calls).
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.encode import split_data_url
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    OpaqueTool,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.openai import chat_shapes as shapes
from tidegate.dialects.openai.chat_legacy import FunctionCalls, read_functions
from tidegate.dialects.openai.chat_parts import (
    NAME,
    citation_of_annotation,
    thinking_of_details,
)
from tidegate.dialects.openai.custom_format import from_chat
from tidegate.dialects.reading import check_kept, check_request, note
from tidegate.errors import BadRequest

#: Values that ask for what happens without them too: leaving them out loses nothing.
_DEFAULTS = {
    "store": (b"false",),
    "service_tier": (b'"auto"', b'"default"'),
    "logit_bias": (b"{}",),
    "modalities": (b'["text"]',),
}

# --- request --------------------------------------------------------------------------------


def decode_request(body: bytes) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault."""
    wire, fields = shapes.REQUEST.read(body)
    unread: list[str] = [] if fields is None else fields.unread
    request = NeutralRequest(NAME, wire.model, [], unread=unread)
    plain = _read_messages(request, wire.messages, unread)
    if wire.tools is not None:
        plain = False
        request.tools = [
            _tool(item, f"tools[{number}]", unread) for number, item in enumerate(wire.tools)
        ]
    if wire.parallel_tool_calls is not None:
        request.parallel_tool_calls = wire.parallel_tool_calls
    if wire.tool_choice is not None:
        request.tool_choice = _tool_choice(wire.tool_choice)
    _read_sampling(request, wire)
    if wire.metadata is not shapes.NULL or wire.response_format is not None:
        plain = False
        _read_shape(request, wire)
    if wire.functions is not None or wire.function_call is not None:
        plain = False
        read_functions(request, wire)
    if fields is not None:
        request.extra = fields.left_over(_DEFAULTS)
    elif not plain:
        check_kept(body)
    return request if plain else check_request(request)


def _read_sampling(request: NeutralRequest, wire: shapes.Request) -> None:
    """Read what is one value each; most requests hold few of them, and asking costs nothing."""
    if wire.temperature is not None:
        request.temperature = wire.temperature
    if wire.top_p is not None:
        request.top_p = wire.top_p
    if wire.top_k is not None:
        request.top_k = wire.top_k
    if wire.seed is not None:
        request.seed = wire.seed
    if wire.presence_penalty is not None:
        request.presence_penalty = wire.presence_penalty
    if wire.frequency_penalty is not None:
        request.frequency_penalty = wire.frequency_penalty
    if wire.n is not None:
        request.n = wire.n
    if wire.logprobs is not None:
        request.logprobs = wire.logprobs
    if wire.top_logprobs is not None:
        request.top_logprobs = wire.top_logprobs
    stop = wire.stop
    if stop is not None:
        request.stop = [stop] if isinstance(stop, str) else stop
    if wire.max_tokens is not None:
        request.max_output_tokens = wire.max_tokens
    if wire.max_completion_tokens is not None:
        request.max_output_tokens = wire.max_completion_tokens
    if wire.stream:
        request.stream = True
    if wire.stream_options is not None:
        request.include_usage = wire.stream_options.include_usage or False
    effort = wire.reasoning_effort
    if effort is not None:
        request.reasoning = Reasoning(mode="off" if effort == "none" else None, effort=effort)
    if wire.safety_identifier is not None:
        request.user = wire.safety_identifier
    if wire.user is not None:
        request.user = wire.user


def _read_shape(request: NeutralRequest, wire: shapes.Request) -> None:
    metadata = bytes(wire.metadata)
    request.metadata = None if metadata in (b"null", b"{}") else metadata
    wanted = wire.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        request.response_format = ResponseFormat("json")
    elif wanted.type == "json_schema" and (schema := wanted.json_schema) is not None:
        raw = bytes(schema.schema)
        request.response_format = ResponseFormat(
            "json_schema",
            schema.name,
            schema.description,
            None if raw == b"null" else raw,
            schema.strict,
        )
    else:
        raise BadRequest("'response_format' is of no known type.", param="response_format.type")


def _tool(item: shapes.ToolItem | msgspec.Raw, path: str, unread: list[str]) -> Tool | OpaqueTool:
    if isinstance(item, msgspec.Raw):
        kind = shapes.KIND.read(item, path, []).type
        if kind not in ("function", "custom"):
            return OpaqueTool(NAME, kind, bytes(item))
        item = shapes.TOOL.read(item, "tools[]", unread)
    if item.function is not None:
        schema = bytes(item.function.parameters)
        return Tool(
            item.function.name,
            item.function.description,
            None if schema == b"null" else schema,
            item.function.strict,
            cache=_cache(item.cache_control),
        )
    if item.custom is not None:
        return Tool(
            item.custom.name,
            item.custom.description,
            custom_format=from_chat(bytes(item.custom.format)),
            cache=_cache(item.cache_control),
        )
    raise BadRequest(f"'{path}' holds no '{item.type}'.", param=path)


def _tool_choice(choice: str | shapes.ToolChoice) -> ToolChoice:
    if isinstance(choice, str):
        if choice in ("auto", "none", "required"):
            return ToolChoice(choice)  # type: ignore[arg-type]  # one of the three, just checked
        raise BadRequest("'tool_choice' is not valid.", param="tool_choice")
    named = choice.function or choice.custom
    if named is not None:
        return ToolChoice("tool", named.name)
    allowed = choice.allowed_tools
    if allowed is None or allowed.mode not in ("auto", "required"):
        raise BadRequest("'tool_choice' names no tool.", param="tool_choice")
    names = [tool.name for item in allowed.tools if (tool := item.function or item.custom)]
    return ToolChoice("required" if allowed.mode == "required" else "auto", allowed=names)


# --- messages -------------------------------------------------------------------------------


def _read_messages(
    request: NeutralRequest, messages: list[shapes.Message], unread: list[str]
) -> bool:
    """Read all messages; return whether all of them were but a text, of which nothing is raw."""
    if not messages:
        raise BadRequest("'messages' must not be empty.", param="messages")
    plain = True
    turns = request.messages
    results: Message | None = None  # the turn that results of one round of calls go to
    functions: FunctionCalls | None = None
    for number, wire in enumerate(messages):
        role, content = wire.role, wire.content
        if type(content) is str and wire.cache_control is None and wire.name is None:
            if role == "user" or (role == "assistant" and content and _is_text(wire)):
                turns.append(Message(role, [Text(content)]))  # type: ignore[arg-type]  # mypy widens it
                results = None
                continue
            if role in ("system", "developer"):
                if turns:
                    turns.append(Message("system", [Text(content)]))
                else:
                    request.system.append(Text(content))
                results = None
                continue
        plain = False
        if functions is None:
            functions = FunctionCalls()
        path = f"messages[{number}]"
        if role in ("tool", "function"):
            if results is None:
                results = Message("user", [])
                turns.append(results)
            call_id = wire.tool_call_id
            if role == "function":
                call_id = functions.end(wire.name, path)
            results.parts.append(_tool_result(wire, call_id, path, unread))
            continue
        results = None
        if role in ("system", "developer"):
            _read_system(request, wire, path, unread)
        elif role == "user":
            parts = _parts(wire, path, unread)
            turns.append(Message("user", parts, wire.name))
        elif role == "assistant":
            turn = _assistant(wire, path, unread)
            if wire.function_call is not None:
                turn.parts.append(functions.begin(wire.function_call))
            turns.append(turn)
        else:
            raise BadRequest(f"'{path}.role' is no known role.", param=f"{path}.role")
    return plain


def _is_text(wire: shapes.Message) -> bool:
    """Whether an assistant's turn is its text and nothing else."""
    return not (
        wire.tool_calls
        or wire.refusal
        or wire.annotations
        or wire.reasoning_content
        or wire.reasoning
        or wire.reasoning_details
        or wire.thinking_blocks
        or wire.audio is not None
        or wire.function_call is not None
    )


def _read_system(
    request: NeutralRequest, wire: shapes.Message, path: str, unread: list[str]
) -> None:
    parts = _parts(wire, path, unread)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) != len(parts):
        raise BadRequest(f"'{path}.content' may hold text only.", param=f"{path}.content")
    if wire.name is not None:
        note(unread, "messages[].name")
    if request.messages:
        request.messages.append(Message("system", parts))
    else:
        request.system.extend(texts)


def _assistant(wire: shapes.Message, path: str, unread: list[str]) -> Message:
    parts: list[Part] = []
    if wire.reasoning_details or wire.thinking_blocks:
        parts.extend(thinking_of_details(wire.reasoning_details or wire.thinking_blocks or []))
    elif wire.reasoning_content or wire.reasoning:
        parts.append(Thinking(wire.reasoning_content or wire.reasoning or ""))
    parts.extend(_parts(wire, path, unread))
    if wire.refusal:
        parts.append(Refusal(wire.refusal))
    if wire.audio is not None:
        parts.append(Audio(id=wire.audio.id, transcript=wire.audio.transcript or ""))
    if wire.annotations:
        text = next((part for part in parts if isinstance(part, Text)), None)
        if text is not None:
            text.citations = [citation_of_annotation(raw) for raw in wire.annotations]
    for number, call in enumerate(wire.tool_calls or []):
        parts.append(_tool_use(call, f"{path}.tool_calls[{number}]"))
    return Message("assistant", parts, wire.name)


def _tool_use(call: shapes.ToolCall, path: str) -> ToolUse:
    if call.custom is not None:
        return ToolUse(call.id, call.custom.name, call.custom.input, custom=True)
    if call.function is None:
        raise BadRequest(f"'{path}' holds no function.", param=path)
    google = None if call.extra_content is None else call.extra_content.google
    return ToolUse(
        call.id,
        call.function.name,
        call.function.arguments,
        signature="" if google is None else google.thought_signature,
    )


def _tool_result(
    wire: shapes.Message, call_id: str | None, path: str, unread: list[str]
) -> ToolResult:
    if call_id is None:
        raise BadRequest(f"'{path}.tool_call_id' is missing.", param=f"{path}.tool_call_id")
    result = ToolResult(call_id, [], name=wire.name or "")
    for part in _parts(wire, path, unread):
        if isinstance(part, (Text, Image, Document, OpaquePart)):
            result.parts.append(part)
        else:
            raise BadRequest(f"'{path}.content' holds what no result can.", param=f"{path}.content")
    if result.parts and isinstance(last := result.parts[-1], (Text, Image, Document)):
        result.cache, last.cache = last.cache, None
    return result


def _parts(wire: shapes.Message, path: str, unread: list[str]) -> list[Part]:
    content = wire.content
    if content is None:
        parts: list[Part] = []
    elif isinstance(content, str):
        parts = [Text(content)] if content or wire.role != "assistant" else []
    else:
        parts = [
            _part(part, f"{path}.content[{number}]", unread) for number, part in enumerate(content)
        ]
    if wire.cache_control is not None and parts:
        last = parts[-1]
        if isinstance(last, (Text, Image, Document, Audio)):
            last.cache = _cache(wire.cache_control)
    return parts


def _part(part: shapes.KnownPart | msgspec.Raw, path: str, unread: list[str]) -> Part:
    if isinstance(part, msgspec.Raw):
        kind = shapes.KIND.read(part, path, []).type
        shape = shapes.PARTS.get(kind)
        if shape is None:
            return OpaquePart(NAME, kind, bytes(part))
        part = shape.read(part, "messages[].content[]", unread)
    if isinstance(part, shapes.RefusalPart):
        return Refusal(part.refusal)
    cache = _cache(part.prompt_cache_breakpoint or part.cache_control)
    if isinstance(part, shapes.TextPart):
        return Text(part.text, cache)
    if isinstance(part, shapes.ImagePart):
        inline = split_data_url(part.image_url.url)
        if inline is None:
            return Image(url=part.image_url.url, detail=part.image_url.detail, cache=cache)
        return Image(mime=inline[0], data=inline[1], detail=part.image_url.detail, cache=cache)
    if isinstance(part, shapes.AudioPart):
        return Audio(part.input_audio.data, part.input_audio.format, cache=cache)
    return _file(part, path)


def _file(part: shapes.FilePart, path: str) -> Document:
    file = part.file
    cache = _cache(part.prompt_cache_breakpoint or part.cache_control)
    if file.file_data:
        inline = split_data_url(file.file_data)
        # Bare base64 is what some clients send; the API's own examples are PDFs.
        mime, data = inline if inline is not None else ("application/pdf", file.file_data)
        return Document(mime, data, title=file.filename, cache=cache)
    if file.file_id:
        return Document(file_id=file.file_id, title=file.filename, cache=cache)
    raise BadRequest(f"'{path}.file' needs 'file_data' or 'file_id'.", param=f"{path}.file")


def _cache(marker: shapes.Breakpoint | None) -> CacheMarker | None:
    return None if marker is None else CacheMarker(marker.ttl)
