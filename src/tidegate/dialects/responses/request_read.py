"""A Responses request in its neutral form.

Source: `ResponseCreateParams` of the openai package, 3.x. `previous_response_id`, `store` and
item references are state: whoever keeps it puts the earlier items in front of `input` first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.neutral import (
    Message,
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
)
from tidegate.dialects.reading import Body, Shape, check_kept, check_request, note
from tidegate.dialects.responses.input_items import ItemReader
from tidegate.dialects.responses.parts import NAME
from tidegate.errors import BadRequest

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"


_NULL = msgspec.Raw(b"null")


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _FunctionTool(_Strict):
    name: str
    type: str = ""
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    strict: bool | None = None


class _CustomTool(_Strict):
    name: str
    type: str = ""
    description: str | None = None
    format: msgspec.Raw = msgspec.Raw(b"{}")


class _AllowedTool(msgspec.Struct):
    type: str = "function"
    name: str = ""


class _ToolChoice(msgspec.Struct):
    type: str
    name: str = ""
    mode: str = "auto"
    tools: list[_AllowedTool] = []


class _Format(_Strict):
    type: str
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = _NULL
    strict: bool | None = None


class _TextConfig(_Strict):
    format: _Format | None = None


class _Reasoning(_Strict):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Request(_Strict, kw_only=True):
    model: str
    background: msgspec.Raw = _NULL
    conversation: msgspec.Raw = _NULL
    prompt: msgspec.Raw = _NULL
    instructions: str | None = None
    input: str | list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    parallel_tool_calls: bool | None = None
    tool_choice: str | _ToolChoice | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
    # Not OpenAI's, but compatible servers have them.
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = None
    include: list[str] | None = None
    stream: bool | None = None
    reasoning: _Reasoning | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: msgspec.Raw = _NULL
    text: _TextConfig | None = None
    previous_response_id: msgspec.Raw = _NULL
    store: msgspec.Raw = _NULL
    # Padding against guesses by length; there is none here.
    stream_options: msgspec.Raw = _NULL


_REQUEST: Body[_Request] = Body(_Request, {})
_KIND: Shape[_Kind] = Shape(_Kind)
_FUNCTION_TOOL: Shape[_FunctionTool] = Shape(_FunctionTool)
_CUSTOM_TOOL: Shape[_CustomTool] = Shape(_CustomTool)

#: Fields that would change what is asked if they were left out: no target can stand in.
_REFUSED = {
    "background": "Responses in the background need a provider that has the Responses API.",
    "conversation": "Conversations need a provider that has the Responses API.",
    "prompt": "Stored prompts need a provider that has the Responses API.",
}
#: Values that ask for what happens without them too: leaving them out loses nothing.
_DEFAULTS = {
    "truncation": (b'"disabled"',),
    "service_tier": (b'"auto"', b'"default"'),
}


def decode_request(body: bytes) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault."""
    wire, fields = _REQUEST.read(body)
    if fields is None:
        check_kept(body)
    unread: list[str] = [] if fields is None else fields.unread
    request = NeutralRequest(NAME, wire.model, [], include_usage=True, unread=unread)
    if (
        wire.background is not _NULL
        or wire.conversation is not _NULL
        or wire.prompt is not _NULL
        or wire.previous_response_id is not _NULL
    ):
        _refuse_state(wire)
    _read_input(request, wire, unread)
    if wire.tools is not None:
        request.tools = [
            _tool(raw, f"tools[{number}]", unread) for number, raw in enumerate(wire.tools)
        ]
    if wire.parallel_tool_calls is not None:
        request.parallel_tool_calls = wire.parallel_tool_calls
    if wire.tool_choice is not None:
        _read_tool_choice(request, wire.tool_choice, unread)
    _read_sampling(request, wire)
    if wire.include:
        _read_include(request, wire.include, unread)
    if wire.reasoning is not None:
        _read_reasoning(request, wire.reasoning, unread)
    if wire.metadata is not _NULL:
        metadata = bytes(wire.metadata)
        request.metadata = None if metadata in (b"null", b"{}") else metadata
    if wire.text is not None and wire.text.format is not None:
        _read_format(request, wire.text.format)
    if fields is not None:
        request.extra = fields.left_over(_DEFAULTS)
    return check_request(request)


def _refuse_state(wire: _Request) -> None:
    """Raise `BadRequest` for what would change what is asked if it were left out."""
    for name, why in _REFUSED.items():
        if bytes(getattr(wire, name)) not in (b"null", b"false"):
            raise BadRequest(why, param=name)
    if bytes(wire.previous_response_id) != b"null":
        raise BadRequest(
            "The response that this one goes on from is not kept here; send its items as 'input'.",
            param="previous_response_id",
        )


def _read_input(request: NeutralRequest, wire: _Request, unread: list[str]) -> None:
    reader = ItemReader(unread)
    if wire.instructions is not None:
        reader.system.append(Text(wire.instructions))
    given = wire.input
    if isinstance(given, str):
        reader.messages.append(Message("user", [Text(given)]))
    elif given:
        for number, item in enumerate(given):
            reader.read(item, f"input[{number}]")
    else:
        raise BadRequest("You must provide 'input'.", param="input")
    request.system = reader.system
    request.messages = reader.messages
    if not reader.messages:
        raise BadRequest("'input' must hold a message that is no instruction.", param="input")


def _read_sampling(request: NeutralRequest, wire: _Request) -> None:
    """Read what is one value each; most requests hold few of them, and asking costs nothing."""
    if wire.temperature is not None:
        request.temperature = wire.temperature
    if wire.top_p is not None:
        request.top_p = wire.top_p
    if wire.max_output_tokens is not None:
        request.max_output_tokens = wire.max_output_tokens
    if wire.top_logprobs is not None:
        request.top_logprobs = wire.top_logprobs
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
    if wire.stream:
        request.stream = True
    if wire.user is not None:
        request.user = wire.user
    if wire.safety_identifier is not None:
        request.user = wire.safety_identifier


def _read_include(request: NeutralRequest, wanted: list[str], unread: list[str]) -> None:
    if LOGPROBS in wanted:
        request.logprobs = True
    for name in wanted:
        if name not in (LOGPROBS, ENCRYPTED_REASONING):
            note(unread, f"include.{name[:60]}")


def _read_reasoning(request: NeutralRequest, reasoning: _Reasoning, unread: list[str]) -> None:
    summary = reasoning.summary or reasoning.generate_summary
    if reasoning.effort is not None or summary is not None:
        request.reasoning = Reasoning(
            mode="off" if reasoning.effort == "none" else None,
            effort=reasoning.effort,
            display=None if summary is None else "summarized",
        )
    if summary not in (None, "auto"):
        note(unread, "reasoning.summary")  # shown, but not in the length asked for


def _read_format(request: NeutralRequest, wanted: _Format) -> None:
    if wanted.type == "text":
        return
    if wanted.type == "json_object":
        request.response_format = ResponseFormat("json")
    elif wanted.type == "json_schema":
        raw = bytes(wanted.schema)
        request.response_format = ResponseFormat(
            "json_schema",
            wanted.name,
            wanted.description,
            None if raw == b"null" else raw,
            wanted.strict,
        )
    else:
        raise BadRequest("'text.format' is of no known type.", param="text.format.type")


def _tool(raw: msgspec.Raw, path: str, unread: list[str]) -> Tool | OpaqueTool:
    kind = _KIND.read(raw, path, []).type
    if kind == "function":
        tool = _FUNCTION_TOOL.read(raw, "tools[]", unread)
        schema = bytes(tool.parameters)
        return Tool(tool.name, tool.description, None if schema == b"null" else schema, tool.strict)
    if kind == "custom":
        custom = _CUSTOM_TOOL.read(raw, "tools[]", unread)
        return Tool(custom.name, custom.description, custom_format=_custom_format(custom))
    return OpaqueTool(NAME, kind, bytes(raw))


def _read_tool_choice(
    request: NeutralRequest, choice: str | _ToolChoice, unread: list[str]
) -> None:
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise BadRequest("'tool_choice' is not valid.", param="tool_choice")
        request.tool_choice = ToolChoice(choice)  # type: ignore[arg-type]  # one of the three
    elif choice.type in ("function", "custom"):
        request.tool_choice = ToolChoice("tool", choice.name)
    elif choice.type == "allowed_tools":
        request.tool_choice = ToolChoice(
            "required" if choice.mode == "required" else "auto",
            allowed=[tool.name for tool in choice.tools if tool.name],
        )
    else:
        note(unread, f"tool_choice.{choice.type[:40]}")  # a tool of the provider's own


def _custom_format(tool: _CustomTool) -> bytes:
    """Return the format of a free-text tool; plain text is any text."""
    raw = bytes(tool.format)
    return b"{}" if raw == b"null" or _KIND.read(raw, "tools[].format", []).type == "text" else raw


def echo_of(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    """Return what a response says again of the request that it answers."""
    echo: dict[str, Any] = dict(_ECHO)
    for name in _ECHO:
        raw = fields.get(name)
        if raw is not None and bytes(raw) != b"null":
            echo[name] = raw
    return echo


_ECHO: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
