"""Shapes of a chat request's JSON. Unknown fields are found by `reading.Shape`.

Source: `CompletionCreateParams` of the openai package, 3.x.
"""

# ruff: noqa: D101 (a class is the JSON object of its name)

from __future__ import annotations

import msgspec

from tidegate.dialects.openai.chat_parts import Detail
from tidegate.dialects.reading import (
    Shape,
)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Breakpoint(Strict):
    mode: str = "explicit"
    type: str = ""
    ttl: str | None = None


class TextPart(Strict):
    type: str
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class RefusalPart(Strict):
    type: str
    refusal: str


class ImageUrl(Strict):
    url: str
    detail: str | None = None


class ImagePart(Strict):
    type: str
    image_url: ImageUrl
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class Sound(Strict):
    data: str
    format: str


class AudioPart(Strict):
    type: str
    input_audio: Sound
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


class File(Strict):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Strict):
    type: str
    file: File
    prompt_cache_breakpoint: Breakpoint | None = None
    cache_control: Breakpoint | None = None


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
    content: str | list[msgspec.Raw] | None = None
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


class FunctionTool(Strict):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class LegacyFunction(Strict):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"null")


class CustomTool(Strict):
    name: str
    description: str | None = None
    format: msgspec.Raw = msgspec.Raw(b"{}")


class ToolItem(Strict):
    type: str
    function: FunctionTool | None = None
    custom: CustomTool | None = None
    cache_control: Breakpoint | None = None


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
    schema: msgspec.Raw = msgspec.Raw(b"null")
    strict: bool | None = None


class ResponseFormat(Strict):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Kind(msgspec.Struct):
    type: str = ""


MESSAGES: Shape[list[Message]] = Shape(list[Message])
TOOLS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])
TOOL: Shape[ToolItem] = Shape(ToolItem)
TOOL_CHOICE: Shape[str | ToolChoice] = Shape(str | ToolChoice)
FUNCTIONS: Shape[list[LegacyFunction]] = Shape(list[LegacyFunction])
FUNCTION_CHOICE: Shape[str | Named] = Shape(str | Named)
RESPONSE_FORMAT: Shape[ResponseFormat] = Shape(ResponseFormat)
STREAM_OPTIONS: Shape[StreamOptions] = Shape(StreamOptions)
TEXT_PART: Shape[TextPart] = Shape(TextPart)
IMAGE_PART: Shape[ImagePart] = Shape(ImagePart)
AUDIO_PART: Shape[AudioPart] = Shape(AudioPart)
FILE_PART: Shape[FilePart] = Shape(FilePart)
REFUSAL_PART: Shape[RefusalPart] = Shape(RefusalPart)
KIND: Shape[Kind] = Shape(Kind)
