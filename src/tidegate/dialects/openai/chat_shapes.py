"""Shapes of a chat request's JSON. Unknown fields are found by `reading.Shape`.

What names its kind in `type` is read by that name; where a list may hold kinds that are not known
here, and it does, the body is read field by field and the list's items one by one.

Source: `CompletionCreateParams` of the openai package, 3.x.
"""

# ruff: noqa: D101 (a class is the JSON object of its name)

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from tidegate.dialects.openai.chat_parts import Detail
from tidegate.dialects.reading import Body, Shape

NULL = msgspec.Raw(b"null")


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Breakpoint(Strict):
    mode: str = "explicit"
    type: str = ""
    ttl: str | None = None


class TextPart(Strict, tag_field="type", tag="text"):
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class RefusalPart(Strict, tag_field="type", tag="refusal"):
    refusal: str


class ImageUrl(Strict):
    url: str
    detail: str | None = None


class ImagePart(Strict, tag_field="type", tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class Sound(Strict):
    data: str
    format: str


class AudioPart(Strict, tag_field="type", tag="input_audio"):
    input_audio: Sound
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class File(Strict):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Strict, tag_field="type", tag="file"):
    file: File
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


KnownPart: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | RefusalPart


class Function(Strict):
    name: str
    arguments: str = ""


class Custom(Strict):
    name: str
    input: str = ""


class GoogleContent(Strict):
    thought_signature: str = ""


class ExtraContent(Strict):
    google: GoogleContent | None = None


class FunctionCall(Strict):
    name: str
    arguments: str = ""
    extra_content: ExtraContent | None = None


class ToolCall(Strict):
    id: str
    type: str = "function"
    function: Function | None = None
    custom: Custom | None = None
    extra_content: ExtraContent | None = None
    index: int | None = None


class AudioRef(Strict):
    id: str
    data: str | None = None
    expires_at: int | None = None
    transcript: str | None = None


class Message(Strict):
    role: str
    content: str | list[KnownPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    audio: AudioRef | None = None
    annotations: list[msgspec.Raw] | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Detail] | None = None
    thinking_blocks: list[Detail] | None = None
    cache_control: Breakpoint | None = None


class MessageApart(Message):
    content: str | list[msgspec.Raw] | None = None  # type: ignore[assignment]  # parts of any kind


class FunctionTool(Strict):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = NULL
    strict: bool | None = None


class LegacyFunction(Strict):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = NULL


class CustomTool(Strict):
    name: str
    description: str | None = None
    format: msgspec.Raw = msgspec.Raw(b"{}")


class ToolItem(Strict):
    type: str
    function: FunctionTool | None = None
    custom: CustomTool | None = None
    cache_control: Breakpoint | None = None


class KnownTool(ToolItem):
    type: Literal["function", "custom"]


class Named(Strict):
    name: str


class AllowedTool(Strict):
    type: str = "function"
    function: Named | None = None
    custom: Named | None = None


class AllowedTools(Strict):
    mode: str
    tools: list[AllowedTool]


class ToolChoice(Strict):
    type: str
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(Strict):
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = NULL
    strict: bool | None = None


class ResponseFormat(Strict):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Request(Strict):
    model: str
    messages: list[Message]
    tools: list[KnownTool] | None = None
    parallel_tool_calls: bool | None = None
    tool_choice: str | ToolChoice | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: msgspec.Raw = NULL
    response_format: ResponseFormat | None = None
    functions: list[LegacyFunction] | None = None
    function_call: str | Named | None = None


class Kind(msgspec.Struct):
    type: str = ""


REQUEST: Body[Request] = Body(
    Request,
    {"messages": Shape(list[MessageApart]), "tools": Shape(list[msgspec.Raw])},
)
TOOL: Shape[ToolItem] = Shape(ToolItem)
PARTS: dict[str, Shape[KnownPart]] = {
    "text": Shape(TextPart),
    "image_url": Shape(ImagePart),
    "input_audio": Shape(AudioPart),
    "file": Shape(FilePart),
    "refusal": Shape(RefusalPart),
}
KIND: Shape[Kind] = Shape(Kind)
