"""The items of a Responses `input` as turns.

Items stand side by side here that are parts of one turn elsewhere: reasoning, text and calls of
the model become one assistant's turn, results that follow each other one user's turn.

Source: `ResponseInputItemParam` of the openai package, 3.x.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tidegate.dialects.encode import split_data_url
from tidegate.dialects.envelope import is_sealed, thinking_of_envelope
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.reading import Shape, note
from tidegate.dialects.responses.parts import NAME, citation_of_annotation, unseal
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadRequest


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Breakpoint(_Strict):
    mode: str = "explicit"
    ttl: str | None = None


class _TextPart(_Strict):
    text: str
    type: str = ""
    annotations: list[msgspec.Raw] | None = None
    logprobs: list[msgspec.Raw] | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _RefusalPart(_Strict):
    refusal: str
    type: str = ""


class _ImagePart(_Strict):
    type: str = ""
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _FilePart(_Strict):
    type: str = ""
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _Sound(_Strict):
    data: str
    format: str


class _AudioPart(_Strict):
    input_audio: _Sound
    type: str = ""


class _Item(_Strict):
    """What all items may have beside their own; none of it means anything to a model."""

    type: str = ""
    id: str | None = None
    status: str | None = None


class _Message(_Item):
    role: str = ""
    content: str | list[msgspec.Raw] | None = None


class _KnownText(_TextPart):
    type: Literal["input_text", "output_text", "text"]


class _Said(_Message, kw_only=True):
    """A message of nothing but texts, which most are: it can be read in one go."""

    content: str | list[_KnownText]  # type: ignore[assignment]  # no other parts


class _FunctionCall(_Item, kw_only=True):
    call_id: str
    name: str
    arguments: str = ""


class _CustomCall(_Item, kw_only=True):
    call_id: str
    name: str
    input: str = ""


class _Output(_Item, kw_only=True):
    call_id: str
    output: str | list[msgspec.Raw] = ""
    name: str | None = None


class _Words(msgspec.Struct):
    text: str = ""


class _Reasoning(_Item):
    summary: list[_Words] | None = None
    content: list[_Words] | None = None
    encrypted_content: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None


_KIND: Shape[_Kind] = Shape(_Kind)
_decode_said = msgspec.json.Decoder(_Said).decode
_MESSAGE: Shape[_Message] = Shape(_Message)
_FUNCTION_CALL: Shape[_FunctionCall] = Shape(_FunctionCall)
_CUSTOM_CALL: Shape[_CustomCall] = Shape(_CustomCall)
_OUTPUT: Shape[_Output] = Shape(_Output)
_REASONING: Shape[_Reasoning] = Shape(_Reasoning)
_TEXT_PART: Shape[_TextPart] = Shape(_TextPart)
_REFUSAL_PART: Shape[_RefusalPart] = Shape(_RefusalPart)
_IMAGE_PART: Shape[_ImagePart] = Shape(_ImagePart)
_FILE_PART: Shape[_FilePart] = Shape(_FilePart)
_AUDIO_PART: Shape[_AudioPart] = Shape(_AudioPart)

_WITHIN = "input[].content[]"


class ItemReader:
    """Reads items, one after the other.

    Attributes:
        system: Instructions before the first turn.
        messages: Turns so far.
        unread: Paths of fields without a place.
    """

    __slots__ = ("_call_states", "messages", "system", "unread")

    def __init__(self, unread: list[str]) -> None:
        self.system: list[Text] = []
        self.messages: list[Message] = []
        self.unread = unread
        #: State that a provider hung on a call, by the call's id.
        self._call_states: dict[str, str] = {}

    def read(self, raw: msgspec.Raw, path: str) -> None:
        """Take one item; raises `BadRequest` naming the field at fault."""
        kind = _KIND.read(raw, path, [])
        name = kind.type or ("message" if kind.role else "item_reference" if kind.id else "")
        if name == "message":
            self._message(raw, path)
        elif name == "function_call":
            call = _FUNCTION_CALL.read(raw, "input[]", self.unread)
            state = self._call_states.get(call.call_id, "")
            self._turn("assistant").append(
                ToolUse(call.call_id, call.name, call.arguments, signature=state)
            )
        elif name == "custom_tool_call":
            custom = _CUSTOM_CALL.read(raw, "input[]", self.unread)
            self._turn("assistant").append(
                ToolUse(custom.call_id, custom.name, custom.input, custom=True)
            )
        elif name in ("function_call_output", "custom_tool_call_output"):
            self._output(raw, path)
        elif name == "reasoning":
            self._reasoning(raw)
        elif name == "item_reference":
            raise BadRequest(
                f"'{path}' refers to an item that is not kept here; send the item itself.",
                param=path,
            )
        elif name:
            role: Literal["user", "assistant"] = "user" if _is_clients(name) else "assistant"
            self._turn(role).append(OpaquePart(NAME, name, bytes(raw)))
        else:
            raise BadRequest(f"'{path}' is no known item.", param=path)

    def _turn(self, role: Literal["user", "assistant"]) -> list[Part]:
        """Return the parts of the turn at hand, or of a new one."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != role or (role == "user" and not _is_of_results(last)):
            last = Message(role, [])
            self.messages.append(last)
        return last.parts

    def _message(self, raw: msgspec.Raw, path: str) -> None:
        parts: list[Part]
        message: _Message
        try:
            message = said = _decode_said(raw)
        except UNREADABLE:
            message, parts = self._read_apart(raw, path)
        else:
            content = said.content
            parts = [Text(content)] if isinstance(content, str) else [_text(t) for t in content]
        if message.role == "assistant":
            self._turn("assistant").extend(parts)
        elif message.role == "user":
            self.messages.append(Message("user", parts))
        elif message.role in ("system", "developer"):
            self._system(parts, path)
        else:
            raise BadRequest(f"'{path}.role' is no known role.", param=f"{path}.role")

    def _read_apart(self, raw: msgspec.Raw, path: str) -> tuple[_Message, list[Part]]:
        """Read a message part by part."""
        message = _MESSAGE.read(raw, "input[]", self.unread)
        content = message.content
        if content is None:
            raise BadRequest(f"'{path}.content' is missing.", param=f"{path}.content")
        if isinstance(content, str):
            return message, [Text(content)]
        return message, [
            self._part(part, f"{path}.content[{number}]") for number, part in enumerate(content)
        ]

    def _system(self, parts: list[Part], path: str) -> None:
        texts = [part for part in parts if isinstance(part, Text)]
        if len(texts) != len(parts):
            raise BadRequest(f"'{path}.content' may hold text only.", param=f"{path}.content")
        if self.messages:
            self.messages.append(Message("system", parts))
        else:
            self.system.extend(texts)

    def _output(self, raw: msgspec.Raw, path: str) -> None:
        wire = _OUTPUT.read(raw, "input[]", self.unread)
        result = ToolResult(wire.call_id, [], name=wire.name or "")
        if isinstance(wire.output, str):
            result.parts.append(Text(wire.output))
        else:
            for number, item in enumerate(wire.output):
                part = self._part(item, f"{path}.output[{number}]")
                if not isinstance(part, (Text, Image, Document, OpaquePart)):
                    raise BadRequest(
                        f"'{path}.output' holds what no result can.", param=f"{path}.output"
                    )
                result.parts.append(part)
        self._turn("user").append(result)

    def _reasoning(self, raw: msgspec.Raw) -> None:
        item = _REASONING.read(raw, "input[]", self.unread)
        text = "\n\n".join([words.text for words in item.summary or item.content or ()])
        content = item.encrypted_content
        envelope = None if content is None else unseal(content)
        if envelope is None and content is not None and is_sealed(content):
            note(self.unread, "input[].encrypted_content")
            content = None  # no provider could read it
        if envelope is not None and envelope.kind == "call":
            self._call_states[envelope.call_id] = envelope.value
            return
        if envelope is not None:
            self._turn("assistant").append(thinking_of_envelope(envelope, text))
            return
        if text:
            self._turn("assistant").append(Thinking(text))
        if content:
            self._turn("assistant").append(Thinking(redacted=content, origin=NAME))

    def _part(self, raw: msgspec.Raw, path: str) -> Part:
        kind = _KIND.read(raw, path, []).type or ""
        if kind in ("input_text", "output_text", "text"):
            return _text(_TEXT_PART.read(raw, _WITHIN, self.unread))
        if kind == "refusal":
            return Refusal(_REFUSAL_PART.read(raw, _WITHIN, self.unread).refusal)
        if kind == "input_image":
            return _image(_IMAGE_PART.read(raw, _WITHIN, self.unread), path)
        if kind == "input_file":
            return _file(_FILE_PART.read(raw, _WITHIN, self.unread), path)
        if kind == "input_audio":
            sound = _AUDIO_PART.read(raw, _WITHIN, self.unread).input_audio
            return Audio(sound.data, sound.format)
        return OpaquePart(NAME, kind, bytes(raw))


def _is_clients(kind: str) -> bool:
    """Whether items of *kind* are written by the client, not by the model."""
    return kind.endswith(("_output", "_response", "_tools", "_trigger"))


def _is_of_results(message: Message) -> bool:
    return all(isinstance(part, (ToolResult, OpaquePart)) for part in message.parts)


def _text(part: _TextPart) -> Text:
    if not part.annotations and part.prompt_cache_breakpoint is None:
        return Text(part.text)
    citations = [citation_of_annotation(found) for found in part.annotations or ()]
    return Text(part.text, _cache(part.prompt_cache_breakpoint), citations)


def _cache(marker: _Breakpoint | None) -> CacheMarker | None:
    return None if marker is None else CacheMarker(marker.ttl)


def _image(wire: _ImagePart, path: str) -> Image:
    detail = None if wire.detail == "auto" else wire.detail
    cache = _cache(wire.prompt_cache_breakpoint)
    if wire.image_url:
        inline = split_data_url(wire.image_url)
        if inline is None:
            return Image(url=wire.image_url, detail=detail, cache=cache)
        return Image(mime=inline[0], data=inline[1], detail=detail, cache=cache)
    if wire.file_id:
        return Image(file_id=wire.file_id, detail=detail, cache=cache)
    raise BadRequest(f"'{path}' needs 'image_url' or 'file_id'.", param=path)


def _file(wire: _FilePart, path: str) -> Document:
    cache = _cache(wire.prompt_cache_breakpoint)
    if wire.file_data:
        inline = split_data_url(wire.file_data)
        # Bare base64 is what some clients send; the API's own examples are PDFs.
        mime, data = inline if inline is not None else ("application/pdf", wire.file_data)
        return Document(mime, data, title=wire.filename, cache=cache)
    if wire.file_url:
        return Document(url=wire.file_url, title=wire.filename, cache=cache)
    if wire.file_id:
        return Document(file_id=wire.file_id, title=wire.filename, cache=cache)
    raise BadRequest(f"'{path}' needs 'file_data', 'file_url' or 'file_id'.", param=path)
