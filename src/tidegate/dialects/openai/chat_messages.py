"""The messages of a chat request."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import json_object, refuse_empty
from tidegate.dialects.fidelity import Losses
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.openai.chat_parts import NAME, details_of_thinking
from tidegate.dialects.wire import Quirks

_TTLS = {"prompt_cache_breakpoint": ("30m", "12h"), "cache_control": ("5m", "1h")}

_FEATURES = {Document: "document", Image: "image", Audio: "audio", Thinking: "thinking"}


class MessagesWriter:
    """Writes the messages of one request; collects its losses."""

    __slots__ = ("_quirks", "_request", "_unsupported", "losses")

    def __init__(self, request: NeutralRequest, quirks: Quirks) -> None:
        self._request = request
        self._quirks = quirks
        self._unsupported = quirks.unsupported
        self.losses = Losses()

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._unsupported:
            self.losses.drop(feature)
            return False
        return True

    # --- messages ---------------------------------------------------------------------------

    def messages(self) -> list[dict[str, Any]]:
        """Return all messages, instructions first."""
        request = self._request
        written: list[dict[str, Any]] = []
        if request.system:
            written.append(self._system(list(request.system)))
        for number, message in enumerate(request.messages):
            role, parts = message.role, message.parts
            if (
                len(parts) == 1
                and type(part := parts[0]) is Text
                and role != "system"
                and message.name is None
                and part.cache is None
                and not part.citations
            ):
                written.append({"role": role, "content": part.text})
            elif role == "system":
                written.append(self._system(parts))
            elif role == "assistant":
                written.append(self._assistant(message, f"messages[{number}]"))
            else:
                self._add_user(written, message, f"messages[{number}]")
        if request.cache_last is not None:
            self._mark_last(written, request.cache_last)
        return written

    def _mark_last(self, written: list[dict[str, Any]], cache: CacheMarker) -> None:
        """Put the marker for the end of the prompt on the last part that can hold one."""
        content = written[-1].get("content") if written else None
        marker = self._cache(cache)
        if not marker:
            return
        if isinstance(content, str):
            written[-1]["content"] = [{"type": "text", "text": content, **marker}]
        elif content:
            ((field, value),) = marker.items()
            if content[-1].setdefault(field, value) != value:
                self.losses.bend("cache_marker.ttl")  # the part's own marker stays
        else:
            self.losses.drop("cache_marker")

    def _system(self, parts: list[Any]) -> dict[str, Any]:
        return {"role": self._quirks.system_role, "content": self._content(parts)}

    def _content(self, parts: list[Part]) -> str | list[dict[str, Any]]:
        """Write parts; one plain text is written as such, which all servers take."""
        if len(parts) == 1 and isinstance(first := parts[0], Text) and first.cache is None:
            if first.citations:
                self.losses.drop("citations")
            return first.text
        return [written for part in parts if (written := self._part(part)) is not None]

    def _add_user(self, written: list[dict[str, Any]], message: Message, path: str) -> None:
        """Write a user's turn: results first, each a message of its own, then the rest."""
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        rest = [part for part in message.parts if not isinstance(part, ToolResult)]
        media: list[Part] = []
        written.extend([self._tool_result(result, media) for result in results])
        content = self._content([*media, *rest]) if media or rest or not results else ""
        if not content and rest and not isinstance(content, str):
            raise refuse_empty(path, "anything of this turn")
        if content or not results:
            turn: dict[str, Any] = {"role": "user", "content": content}
            if message.name is not None and self._takes("message.name"):
                turn["name"] = message.name
            written.append(turn)

    def _tool_result(self, result: ToolResult, media: list[Part]) -> dict[str, Any]:
        """Write a result. The API takes text only: images go into the turn that follows."""
        texts: list[Part] = []
        for part in result.parts:
            if isinstance(part, (Image, Document)):
                self.losses.bend("tool_result.media")
                media.append(part)
            elif isinstance(part, OpaquePart) and part.dialect != NAME:
                self.losses.drop("part")
            else:
                texts.append(part)
        if result.is_error:
            # There is no flag for it; the model has to read that the call failed.
            self.losses.bend("tool_result.is_error")
            texts.insert(0, Text("Error: " if texts else "Error."))
            if len(texts) == 2 and isinstance(only := texts[1], Text) and only.cache is None:
                texts = [Text("Error: " + only.text)]
        if result.cache is not None:
            if texts and isinstance(last := texts[-1], Text):
                if last.cache is not None and last.cache.ttl != result.cache.ttl:
                    self.losses.bend("cache_marker.ttl")  # two markers meet in one place
                texts[-1] = Text(last.text, result.cache)
            else:
                self.losses.drop("cache_marker")
        return {
            "role": "tool",
            "tool_call_id": result.tool_use_id,
            "content": self._content(texts) if texts else "",
        }

    def _assistant(self, message: Message, path: str) -> dict[str, Any]:
        texts: list[Text] = []
        calls: list[dict[str, Any]] = []
        thinking: list[Thinking] = []
        turn: dict[str, Any] = {"role": "assistant", "content": None}
        for part in message.parts:
            if isinstance(part, Text):
                texts.append(part)
            elif isinstance(part, ToolUse):
                calls.append(self._tool_call(part))
            elif isinstance(part, Thinking):
                thinking.append(part)
            elif isinstance(part, Refusal):
                turn["refusal"] = turn.get("refusal", "") + part.text
            elif isinstance(part, Audio) and part.id and self._takes("audio"):
                turn["audio"] = {"id": part.id}
            elif isinstance(part, Audio):
                self.losses.drop("audio")
            else:
                self.losses.drop(_feature_of(part))
        if texts:
            turn["content"] = self._assistant_content(texts)
        if thinking:
            self._add_thinking(turn, thinking)
        if calls:
            turn["tool_calls"] = calls
        if message.name is not None and self._takes("message.name"):
            turn["name"] = message.name
        if len(turn) == 2 and turn["content"] is None:
            if message.parts and not thinking:
                raise refuse_empty(path, "anything of this turn")
            turn["content"] = ""
        return turn

    def _assistant_content(self, texts: list[Text]) -> str | list[dict[str, Any]]:
        """Write an answer's text: one string, unless a cache marker stands amid it."""
        if any(text.citations for text in texts):
            self.losses.drop("citations")
        if self._quirks.cache_marker_field and any(text.cache for text in texts):
            return [
                {"type": "text", "text": text.text, **self._cache(text.cache)} for text in texts
            ]
        for text in texts:
            self._cache(text.cache)
        return "".join([text.text for text in texts])

    def _add_thinking(self, turn: dict[str, Any], thinking: list[Thinking]) -> None:
        field = self._quirks.reasoning_field
        if not field:
            self.losses.drop("thinking")
        elif field == "reasoning_details":
            turn[field] = details_of_thinking(thinking)
        else:
            turn[field] = "".join([part.text for part in thinking])
            if any(part.signature or part.redacted is not None for part in thinking):
                self.losses.bend("thinking")

    def _tool_call(self, part: ToolUse) -> dict[str, Any]:
        if part.cache is not None:
            self.losses.drop("cache_marker")
        if part.custom:
            custom = {"name": part.name, "input": part.arguments}
            return {"id": part.id, "type": "custom", "custom": custom}
        if json_object(part.arguments) is None:
            self.losses.bend("tool_use.arguments")  # it goes on as the text that it is
        call: dict[str, Any] = {
            "id": part.id,
            "type": "function",
            "function": {"name": part.name, "arguments": part.arguments or "{}"},
        }
        if part.signature and self._quirks.reasoning_field != "reasoning_details":
            self.losses.drop("tool_use.signature")  # others refuse a field that they do not know
        elif part.signature:
            call["extra_content"] = {"google": {"thought_signature": part.signature}}
        return call

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            if part.citations:
                self.losses.drop("citations")
            written: dict[str, Any] = {"type": "text", "text": part.text}
            if part.cache is not None:
                written.update(self._cache(part.cache))
            return written
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Audio) and part.data and self._takes("audio"):
            sound = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": sound, **self._cache(part.cache)}
        if isinstance(part, OpaquePart) and part.dialect == NAME:
            return msgspec.json.decode(part.raw, type=dict[str, msgspec.Raw])
        if not isinstance(part, Audio) or part.data == "":
            self.losses.drop(_feature_of(part))
        return None

    def _image(self, part: Image) -> dict[str, Any] | None:
        if not self._takes("image"):
            return None
        if part.file_id:
            self.losses.drop("image.file_id")  # the id is another provider's
            return None
        if part.url and not self._takes("image.url"):
            return None
        image = {"url": part.url or f"data:{part.mime};base64,{part.data}"}
        if part.detail is not None and self._takes("image.detail"):
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image, **self._cache(part.cache)}

    def _document(self, part: Document) -> dict[str, Any] | None:
        if not self._takes("document"):
            return None
        if part.context is not None:
            self.losses.drop("document.context")
        if part.cites:
            self.losses.drop("document.citations")
        if part.text:
            self.losses.bend("document")
            text = part.text if part.title is None else f"{part.title}\n\n{part.text}"
            return {"type": "text", "text": text, **self._cache(part.cache)}
        file: dict[str, Any] = {}
        if part.data:
            file["file_data"] = f"data:{part.mime};base64,{part.data}"
        elif part.file_id and self._request.dialect in (NAME, "responses"):
            file["file_id"] = part.file_id
        else:
            self.losses.drop("document.url" if part.url else "document.file_id")
            return None
        if part.title is not None:
            file["filename"] = part.title
        elif part.data:
            file["filename"] = "document.pdf"  # the API wants a name beside data
        return {"type": "file", "file": file, **self._cache(part.cache)}

    def _cache(self, marker: CacheMarker | None) -> dict[str, Any]:
        field = self._quirks.cache_marker_field
        if marker is None:
            return {}
        if not field:
            self.losses.drop("cache_marker")
            return {}
        kind = "mode" if field == "prompt_cache_breakpoint" else "type"
        value = {kind: "explicit" if kind == "mode" else "ephemeral"}
        if marker.ttl is not None:
            if marker.ttl in _TTLS.get(field, ()):
                value["ttl"] = marker.ttl
            else:
                self.losses.bend("cache_marker.ttl")
        return {field: value}


def _feature_of(part: Part) -> str:
    return _FEATURES.get(type(part), "part")
