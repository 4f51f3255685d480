"""Instructions and turns of a Converse request.

What the API insists on is seen to here: turns alternate and begin with the user's, documents have
a name and a turn with one has text, results come first in their turn. Images, documents and sound
travel as bytes only.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.dialects.bedrock.answer import NAME
from tidegate.dialects.encode import call_arguments, refuse_empty, says
from tidegate.dialects.fidelity import Losses
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    NeutralRequest,
    OpaquePart,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

_BAD_ID_SIGNS = re.compile(r"[^a-zA-Z0-9_-]")
_BAD_NAME_SIGNS = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_IMAGE_FORMATS = {f"image/{kind}": kind for kind in ("png", "jpeg", "gif", "webp")}
#: Whose proofs of thinking are taken: Anthropic's models sign alike here and at home.
_KNOWN_ORIGINS = frozenset({NAME, "anthropic", "", "unknown"})
_DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
#: Names of the API for what callers name otherwise; all other formats are called alike.
_AUDIO_NAMES = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "x-m4a": "m4a", "pcm16": "pcm"}
#: `AudioFormat` of the API, but for what callers say otherwise.
_AUDIO_FORMATS = frozenset(
    {"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "m4a", "pcm", "webm"}
)


class PromptWriter:
    """Writes instructions and turns.

    Attributes:
        calls: Whether a turn has called a tool.
    """

    __slots__ = ("_losses", "_quirks", "_request", "calls")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses
        self.calls = False

    def _takes(self, feature: str) -> bool:
        if feature in self._quirks.unsupported:
            self._losses.drop(feature)
            return False
        return True

    def write(self) -> tuple[list[Any], list[dict[str, Any]]]:
        """Return the system blocks and the turns; neighbours of one role become one turn."""
        request = self._request
        system: list[Any] = []
        for part in request.system:
            if part.text:
                system += self._text(part)
        turns: list[dict[str, Any]] = []
        only_texts = True
        for number, message in enumerate(request.messages):
            if message.name is not None:
                self._losses.drop("message.name")
            parts = message.parts
            if len(parts) == 1 and type(only := parts[0]) is Text and only.text:
                blocks = self._text(only)
            else:
                only_texts = False
                blocks = [block for part in parts for block in self._blocks(part)]
            if message.role == "system":
                self._losses.bend("system.position")
                system += blocks
                continue
            if not blocks:
                if message.role == "user" and says(message):
                    raise refuse_empty(f"messages[{number}]", "anything of this turn")
                continue
            if turns and turns[-1]["role"] == message.role:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": message.role, "content": blocks})
        if not turns:
            raise BadRequest("The request holds no turn for the model to answer.", param="messages")
        if not only_texts:
            for turn in turns:
                _tidy(turn["content"])
        if request.cache_last is not None:
            turns[-1]["content"] += self.cache_point(request.cache_last)
        return system, turns

    def _blocks(self, part: Part) -> list[Any]:
        """Return the blocks of one part: none, itself, or itself and a cache point."""
        if isinstance(part, Text):
            return self._text(part) if part.text else []
        if isinstance(part, ToolUse):
            self.calls = True
            block: Any = self._tool_use(part)
        elif isinstance(part, ToolResult):
            block = self._tool_result(part)
        elif isinstance(part, Thinking):
            block = self._thinking(part)
        elif isinstance(part, Image):
            block = self._image(part)
        elif isinstance(part, Document):
            block = self._document(part)
        elif isinstance(part, Audio):
            block = self._audio(part)
        elif isinstance(part, Refusal):
            self._losses.bend("refusal")
            block = {"text": part.text} if part.text else None
        elif isinstance(part, OpaquePart) and part.dialect == NAME:
            block = msgspec.Raw(part.raw)
        else:
            self._losses.drop("part")
            block = None
        point = self.cache_point(getattr(part, "cache", None))
        return point if block is None else [block, *point]

    def _text(self, part: Text) -> list[Any]:
        if part.citations:
            self._losses.drop("citations")
        if part.cache is None:
            return [{"text": part.text}]
        return [{"text": part.text}, *self.cache_point(part.cache)]

    def cache_point(self, marker: CacheMarker | None) -> list[Any]:
        """Return the block that ends a cached prefix, if there is one."""
        if marker is None or not self._takes("cache_marker"):
            return []
        point: dict[str, Any] = {"type": "default"}
        if marker.ttl in ("5m", "1h"):
            point["ttl"] = marker.ttl
        elif marker.ttl is not None:
            self._losses.bend("cache_marker.ttl")
        return [{"cachePoint": point}]

    def _tool_use(self, part: ToolUse) -> dict[str, Any]:
        arguments = call_arguments(part, self._losses)
        if part.signature:
            self._losses.drop("tool_use.signature")
        call = {"toolUseId": _id(part.id), "name": part.name, "input": msgspec.Raw(arguments)}
        return {"toolUse": call}

    def _tool_result(self, part: ToolResult) -> dict[str, Any]:
        content: list[Any] = []
        for item in part.parts:
            if isinstance(item, Text):
                content.append({"text": item.text})
                if item.cache is not None:
                    self._losses.drop("cache_marker")
            elif isinstance(item, Image) and (image := self._image(item)) is not None:
                content.append(image)
            elif isinstance(item, Document) and (document := self._document(item)) is not None:
                content.append(document)
            else:
                self._losses.drop("tool_result.media")
        result: dict[str, Any] = {"toolUseId": _id(part.tool_use_id), "content": content}
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}

    def _thinking(self, part: Thinking) -> dict[str, Any] | None:
        """Write thinking with its proof; without one, or with another's, it is refused there."""
        if part.origin not in _KNOWN_ORIGINS or not (part.signature or part.redacted):
            self._losses.drop("thinking")
            return None
        if part.redacted is not None:
            return {"reasoningContent": {"redactedContent": part.redacted}}
        text = {"text": part.text, "signature": part.signature}
        return {"reasoningContent": {"reasoningText": text}}

    def _image(self, part: Image) -> dict[str, Any] | None:
        if not self._takes("image"):
            return None
        if part.detail not in (None, "auto"):
            self._losses.drop("image.detail")
        if not part.data:
            self._losses.drop("image.file_id" if part.file_id else "image.url")
            return None
        kind = _IMAGE_FORMATS.get(part.mime)
        if kind is None:
            self._losses.drop("image")
            return None
        return {"image": {"format": kind, "source": {"bytes": part.data}}}

    def _document(self, part: Document) -> dict[str, Any] | None:
        if not self._takes("document"):
            return None
        source: dict[str, Any]
        if part.text:
            kind, source = "txt", {"text": part.text}
        elif part.data:
            kind, source = _DOCUMENT_FORMATS.get(part.mime or "application/pdf", ""), {}
            source = {"bytes": part.data}
        else:
            self._losses.drop("document.file_id" if part.file_id else "document.url")
            return None
        if not kind:
            self._losses.drop("document")
            return None
        name = _BAD_NAME_SIGNS.sub(" ", part.title or "document").strip() or "document"
        if part.title is not None and name != part.title:
            self._losses.bend("document.title")
        document: dict[str, Any] = {"format": kind, "name": name[:200], "source": source}
        if part.context is not None:
            document["context"] = part.context
        if part.cites is not None:
            document["citations"] = {"enabled": part.cites}
        return {"document": document}

    def _audio(self, part: Audio) -> dict[str, Any] | None:
        """Write sound as bytes; of an earlier answer's, only what was said is known here."""
        if not self._takes("audio"):
            return None
        kind = _AUDIO_NAMES.get(part.format, part.format or "wav")
        if part.data and kind in _AUDIO_FORMATS:
            return {"audio": {"format": kind, "source": {"bytes": part.data}}}
        if part.transcript:
            self._losses.bend("audio")
            return {"text": part.transcript}
        self._losses.drop("audio")
        return None


def _tidy(blocks: list[Any]) -> None:
    """Put results first, as the API wants them, and give a turn with a document some text."""
    kinds = [next(iter(block), "") if isinstance(block, dict) else "" for block in blocks]
    if "toolResult" in kinds:
        blocks.sort(key=lambda block: not (isinstance(block, dict) and "toolResult" in block))
    if "document" in kinds and "text" not in kinds:
        blocks.append({"text": " "})


def _id(identifier: str) -> str:
    """Return a call's id in the signs that the API takes; the same one every time."""
    return (_BAD_ID_SIGNS.sub("_", identifier) or "call")[:64]
