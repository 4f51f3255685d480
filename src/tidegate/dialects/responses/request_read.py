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
from tidegate.dialects.reading import FLAG, INTEGER, NUMBER, TEXT, TEXTS, Fields, Shape, note
from tidegate.dialects.responses.input_items import ItemReader
from tidegate.dialects.responses.parts import NAME
from tidegate.errors import BadRequest

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED_REASONING = "reasoning.encrypted_content"


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _FunctionTool(_Strict):
    name: str
    type: str = ""
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")
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
    schema: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class _TextConfig(_Strict):
    format: _Format | None = None


class _Reasoning(_Strict):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


_INPUT: Shape[str | list[msgspec.Raw]] = Shape(str | list[msgspec.Raw])
_INSTRUCTIONS: Shape[str] = TEXT
_ITEMS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])
_KIND: Shape[_Kind] = Shape(_Kind)
_FUNCTION_TOOL: Shape[_FunctionTool] = Shape(_FunctionTool)
_CUSTOM_TOOL: Shape[_CustomTool] = Shape(_CustomTool)
_TOOL_CHOICE: Shape[str | _ToolChoice] = Shape(str | _ToolChoice)
_TEXT_CONFIG: Shape[_TextConfig] = Shape(_TextConfig)
_REASONING: Shape[_Reasoning] = Shape(_Reasoning)

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
    fields = Fields(body)
    request = NeutralRequest(NAME, fields.need("model", TEXT), [], include_usage=True)
    for name, why in _REFUSED.items():
        value = fields.take_raw(name)
        if value is not None and value != b"false":
            raise BadRequest(why, param=name)
    _read_input(request, fields)
    _read_tools(request, fields)
    _read_sampling(request, fields)
    _read_output(request, fields)
    if fields.take_raw("previous_response_id") is not None:
        raise BadRequest(
            "The response that this one goes on from is not kept here; send its items as 'input'.",
            param="previous_response_id",
        )
    fields.take_raw("store")
    fields.take_raw("stream_options")  # padding against guesses by length; there is none here
    request.extra = fields.left_over(_DEFAULTS)
    request.unread = fields.unread
    return request


def _read_input(request: NeutralRequest, fields: Fields) -> None:
    reader = ItemReader(fields.unread)
    instructions = fields.take("instructions", _INSTRUCTIONS)
    if instructions is not None:
        reader.system.append(Text(instructions))
    given = fields.take("input", _INPUT)
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


def _read_sampling(request: NeutralRequest, fields: Fields) -> None:
    request.temperature = fields.take("temperature", NUMBER)
    request.top_p = fields.take("top_p", NUMBER)
    request.max_output_tokens = fields.take("max_output_tokens", INTEGER)
    request.top_logprobs = fields.take("top_logprobs", INTEGER)
    # Not OpenAI's, but compatible servers have them.
    request.top_k = fields.take("top_k", INTEGER)
    request.seed = fields.take("seed", INTEGER)
    request.presence_penalty = fields.take("presence_penalty", NUMBER)
    request.frequency_penalty = fields.take("frequency_penalty", NUMBER)
    request.n = fields.take("n", INTEGER)
    wanted = fields.take("include", TEXTS) or []
    if LOGPROBS in wanted:
        request.logprobs = True
    for name in wanted:
        if name not in (LOGPROBS, ENCRYPTED_REASONING):
            note(fields.unread, f"include.{name[:60]}")


def _read_output(request: NeutralRequest, fields: Fields) -> None:
    request.stream = fields.take("stream", FLAG) or False
    reasoning = fields.take("reasoning", _REASONING)
    if reasoning is not None:
        summary = reasoning.summary or reasoning.generate_summary
        if reasoning.effort is not None or summary is not None:
            request.reasoning = Reasoning(
                mode="off" if reasoning.effort == "none" else None,
                effort=reasoning.effort,
                display=None if summary is None else "summarized",
            )
        if summary not in (None, "auto"):
            note(fields.unread, "reasoning.summary")  # shown, but not in the length asked for
    user = fields.take("user", TEXT)
    identifier = fields.take("safety_identifier", TEXT)
    request.user = user if identifier is None else identifier
    request.metadata = fields.take_raw("metadata")
    if request.metadata == b"{}":
        request.metadata = None
    text = fields.take("text", _TEXT_CONFIG)
    wanted = None if text is None else text.format
    if wanted is None or wanted.type == "text":
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


def _read_tools(request: NeutralRequest, fields: Fields) -> None:
    items = fields.take("tools", _ITEMS)
    for number, raw in enumerate(items or []):
        kind = _KIND.read(raw, f"tools[{number}]", []).type
        if kind == "function":
            tool = _FUNCTION_TOOL.read(raw, "tools[]", fields.unread)
            schema = bytes(tool.parameters)
            request.tools.append(
                Tool(
                    tool.name,
                    tool.description,
                    None if schema == b"null" else schema,
                    tool.strict,
                )
            )
        elif kind == "custom":
            custom = _CUSTOM_TOOL.read(raw, "tools[]", fields.unread)
            request.tools.append(
                Tool(custom.name, custom.description, custom_format=_custom_format(custom))
            )
        else:
            request.tools.append(OpaqueTool(NAME, kind, bytes(raw)))
    request.parallel_tool_calls = fields.take("parallel_tool_calls", FLAG)
    choice = fields.take("tool_choice", _TOOL_CHOICE)
    if choice is None:
        return
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
        note(fields.unread, f"tool_choice.{choice.type[:40]}")  # a tool of the provider's own


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
