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
from tidegate.dialects.reading import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXT_OR_TEXTS,
    Fields,
    note,
)
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
    fields = Fields(body)
    request = NeutralRequest(NAME, fields.need("model", TEXT), [])
    _read_messages(request, fields.need("messages", shapes.MESSAGES), fields.unread)
    _read_tools(request, fields)
    _read_sampling(request, fields)
    _read_output(request, fields)
    read_functions(request, fields)
    request.extra = fields.left_over(_DEFAULTS)
    request.unread = fields.unread
    return request


def _read_sampling(request: NeutralRequest, fields: Fields) -> None:
    request.temperature = fields.take("temperature", NUMBER)
    request.top_p = fields.take("top_p", NUMBER)
    request.top_k = fields.take("top_k", INTEGER)
    request.seed = fields.take("seed", INTEGER)
    request.presence_penalty = fields.take("presence_penalty", NUMBER)
    request.frequency_penalty = fields.take("frequency_penalty", NUMBER)
    request.n = fields.take("n", INTEGER)
    request.logprobs = fields.take("logprobs", FLAG)
    request.top_logprobs = fields.take("top_logprobs", INTEGER)
    stop = fields.take("stop", TEXT_OR_TEXTS)
    if stop is not None:
        request.stop = [stop] if isinstance(stop, str) else stop
    former = fields.take("max_tokens", INTEGER)
    limit = fields.take("max_completion_tokens", INTEGER)
    request.max_output_tokens = former if limit is None else limit


def _read_output(request: NeutralRequest, fields: Fields) -> None:
    request.stream = fields.take("stream", FLAG) or False
    options = fields.take("stream_options", shapes.STREAM_OPTIONS)
    if options is not None:
        request.include_usage = options.include_usage or False
    effort = fields.take("reasoning_effort", TEXT)
    if effort is not None:
        request.reasoning = Reasoning(mode="off" if effort == "none" else None, effort=effort)
    user = fields.take("user", TEXT)
    identifier = fields.take("safety_identifier", TEXT)
    request.user = identifier if user is None else user
    request.metadata = fields.take_raw("metadata")
    if request.metadata == b"{}":
        request.metadata = None
    wanted = fields.take("response_format", shapes.RESPONSE_FORMAT)
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


def _read_tools(request: NeutralRequest, fields: Fields) -> None:
    items = fields.take("tools", shapes.TOOLS)
    for number, raw in enumerate(items or []):
        kind = shapes.KIND.read(raw, f"tools[{number}]", []).type
        if kind not in ("function", "custom"):
            request.tools.append(OpaqueTool(NAME, kind, bytes(raw)))
            continue
        item = shapes.TOOL.read(raw, "tools[]", fields.unread)
        if item.function is not None:
            schema = bytes(item.function.parameters)
            request.tools.append(
                Tool(
                    item.function.name,
                    item.function.description,
                    None if schema == b"null" else schema,
                    item.function.strict,
                    cache=_cache(item.cache_control),
                )
            )
        elif item.custom is not None:
            request.tools.append(
                Tool(
                    item.custom.name,
                    item.custom.description,
                    custom_format=from_chat(bytes(item.custom.format)),
                    cache=_cache(item.cache_control),
                )
            )
        else:
            raise BadRequest(f"'tools[{number}]' holds no '{kind}'.", param=f"tools[{number}]")
    request.parallel_tool_calls = fields.take("parallel_tool_calls", FLAG)
    choice = fields.take("tool_choice", shapes.TOOL_CHOICE)
    if choice is not None:
        request.tool_choice = _tool_choice(choice)


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
) -> None:
    if not messages:
        raise BadRequest("'messages' must not be empty.", param="messages")
    results: Message | None = None  # the turn that results of one round of calls go to
    functions = FunctionCalls()
    for number, wire in enumerate(messages):
        path = f"messages[{number}]"
        if wire.role in ("tool", "function"):
            if results is None:
                results = Message("user", [])
                request.messages.append(results)
            call_id = wire.tool_call_id
            if wire.role == "function":
                call_id = functions.end(wire.name, path)
            results.parts.append(_tool_result(wire, call_id, path, unread))
            continue
        results = None
        if wire.role in ("system", "developer"):
            _read_system(request, wire, path, unread)
        elif wire.role == "user":
            parts = _parts(wire, path, unread)
            request.messages.append(Message("user", parts, wire.name))
        elif wire.role == "assistant":
            turn = _assistant(wire, path, unread)
            if wire.function_call is not None:
                turn.parts.append(functions.begin(wire.function_call))
            request.messages.append(turn)
        else:
            raise BadRequest(f"'{path}.role' is no known role.", param=f"{path}.role")


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
            _part(raw, f"{path}.content[{number}]", unread) for number, raw in enumerate(content)
        ]
    if wire.cache_control is not None and parts:
        last = parts[-1]
        if isinstance(last, (Text, Image, Document, Audio)):
            last.cache = _cache(wire.cache_control)
    return parts


def _part(raw: msgspec.Raw, path: str, unread: list[str]) -> Part:
    kind = shapes.KIND.read(raw, path, []).type
    within = "messages[].content[]"
    if kind == "text":
        text = shapes.TEXT_PART.read(raw, within, unread)
        return Text(text.text, _cache(text.prompt_cache_breakpoint or text.cache_control))
    if kind == "image_url":
        image = shapes.IMAGE_PART.read(raw, within, unread)
        cache = _cache(image.prompt_cache_breakpoint or image.cache_control)
        inline = split_data_url(image.image_url.url)
        if inline is None:
            return Image(url=image.image_url.url, detail=image.image_url.detail, cache=cache)
        return Image(mime=inline[0], data=inline[1], detail=image.image_url.detail, cache=cache)
    if kind == "input_audio":
        sound = shapes.AUDIO_PART.read(raw, within, unread)
        cache = _cache(sound.prompt_cache_breakpoint or sound.cache_control)
        return Audio(sound.input_audio.data, sound.input_audio.format, cache=cache)
    if kind == "file":
        return _file(shapes.FILE_PART.read(raw, within, unread), path)
    if kind == "refusal":
        return Refusal(shapes.REFUSAL_PART.read(raw, within, unread).refusal)
    return OpaquePart(NAME, kind, bytes(raw))


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
