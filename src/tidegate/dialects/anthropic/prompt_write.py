"""Instructions and turns of a Messages request."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.dialects.anthropic.parts import KIN, NAME, write_citation
from tidegate.dialects.encode import call_arguments, refuse_empty, says
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
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

MAX_CACHE_MARKERS = 4

_TTLS = {None: None, "5m": "5m", "1h": "1h"}

_BAD_ID_SIGNS = re.compile(r"[^a-zA-Z0-9_-]")


class PromptWriter:
    """Writes system and turns of one request; collects its losses.

    Attributes:
        losses: So far.
        may_mark: Something was written that can hold a cache marker.
    """

    __slots__ = ("_quirks", "_request", "losses", "may_mark")

    def __init__(self, request: NeutralRequest, quirks: Quirks) -> None:
        self._request = request
        self._quirks = quirks
        self.losses = Losses()
        self.may_mark = False

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._quirks.unsupported:
            self.losses.drop(feature)
            return False
        return True

    def limit(self) -> int:
        """Return the limit of the output, which the API wants in every request."""
        wanted = self._request.max_output_tokens
        most = self._quirks.max_output_tokens
        if wanted is None:
            fallback = self._quirks.default_max_output_tokens
            return fallback if most is None else min(fallback, most)
        if most is not None and wanted > most:
            self.losses.bend("max_output_tokens")
            return most
        return wanted

    # --- prompt -----------------------------------------------------------------------------

    def prompt(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the system blocks and the turns; neighbours of one role become one turn."""
        request = self._request
        system = [self._text(part) for part in request.system if part.text]
        turns: list[dict[str, Any]] = []
        before = ""  # role of the last turn
        takes_texts = request.cache_last is None  # a marker needs a block to hold it
        for number, message in enumerate(request.messages):
            role, parts = message.role, message.parts
            if message.name is not None:
                self.losses.drop("message.name")
            if (
                len(parts) == 1
                and type(part := parts[0]) is Text
                and role != "system"
                and role != before
                and takes_texts
                and part.text
                and part.cache is None
                and not part.citations
            ):
                turns.append({"role": role, "content": part.text})
                before = role
                continue
            blocks = self._blocks(message)
            if role == "system" and not self._quirks.system_turns:
                # It keeps its authority and loses its place.
                self.losses.bend("system.position")
                system.extend(blocks)
                continue
            if not blocks:
                if parts and role == "user" and says(message):
                    raise refuse_empty(f"messages[{number}]", "anything of this turn")
                continue  # an empty turn is refused there, and says nothing
            if role == before:
                _blocks_of(turns[-1]).extend(blocks)
            else:
                turns.append({"role": role, "content": blocks})
                before = role
        if not turns:
            raise BadRequest("The request holds no turn for the model to answer.", param="messages")
        for turn in turns:
            if type(turn["content"]) is list:
                _tidy(turn, takes_texts)
        if request.cache_last is not None and (mark := self._cache(request.cache_last)):
            last = _blocks_of(turns[-1])[-1]
            kept = last.setdefault("cache_control", mark["cache_control"])
            if kept != mark["cache_control"]:
                self.losses.bend("cache_marker.ttl")  # the block's own marker stays
        return system, turns

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        return [block for part in message.parts if (block := self._block(part)) is not None]

    def _block(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            return self._text(part) if part.text else None
        if isinstance(part, ToolUse):
            return self._tool_use(part)
        if isinstance(part, ToolResult):
            return self._tool_result(part)
        if isinstance(part, Thinking):
            return self._thinking(part)
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Refusal):
            self.losses.bend("refusal")
            return {"type": "text", "text": part.text} if part.text else None
        if isinstance(part, OpaquePart) and part.dialect == NAME:
            self.may_mark = True
            return msgspec.json.decode(part.raw, type=dict[str, Any])
        self.losses.drop("audio" if isinstance(part, Audio) else "part")
        return None

    def _text(self, part: Text) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "text", "text": part.text}
        if part.cache is not None:
            block.update(self._cache(part.cache))
        if part.citations:
            own = [c for c in part.citations if c.dialect == NAME]
            if len(own) < len(part.citations):
                self.losses.drop("citations")
            if own:
                block["citations"] = [write_citation(citation) for citation in own]
        return block

    def _tool_use(self, part: ToolUse) -> dict[str, Any]:
        arguments = call_arguments(part, self.losses)
        if part.signature:
            self.losses.drop("tool_use.signature")
        return {
            "type": "tool_use",
            "id": self._id(part.id),
            "name": part.name,
            "input": msgspec.Raw(arguments),
            **self._cache(part.cache),
        }

    def _id(self, identifier: str) -> str:
        """Return a call's id in the signs that the API takes; the same one every time."""
        return _BAD_ID_SIGNS.sub("_", identifier) or "call"

    def _tool_result(self, part: ToolResult) -> dict[str, Any]:
        blocks = [block for item in part.parts if (block := self._block(item)) is not None]
        plain = len(blocks) == 1 and len(blocks[0]) == 2 and blocks[0]["type"] == "text"
        result: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": self._id(part.tool_use_id),
            "content": blocks[0]["text"] if plain else blocks,
        }
        if part.is_error:
            result["is_error"] = True
        result.update(self._cache(part.cache))
        return result

    def _thinking(self, part: Thinking) -> dict[str, Any] | None:
        """Write thinking with its proof; without one, or with another's, it is refused there."""
        if part.origin not in ("", "unknown", *KIN):
            self.losses.drop("thinking")
            return None
        if part.redacted is not None:
            return {"type": "redacted_thinking", "data": part.redacted}
        if not part.signature:
            self.losses.drop("thinking")
            return None
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}

    def _image(self, part: Image) -> dict[str, Any] | None:
        if not self._takes("image"):
            return None
        if part.detail not in (None, "auto"):
            self.losses.drop("image.detail")
        if part.data:
            source = {"type": "base64", "media_type": part.mime, "data": part.data}
        elif part.url:
            if not self._takes("image.url"):
                return None
            source = {"type": "url", "url": part.url}
        elif self._request.dialect == NAME:
            source = {"type": "file", "file_id": part.file_id}
        else:
            self.losses.drop("image.file_id")
            return None
        return {"type": "image", "source": source, **self._cache(part.cache)}

    def _document(self, part: Document) -> dict[str, Any] | None:
        if not self._takes("document"):
            return None
        if part.text:
            source = {"type": "text", "media_type": "text/plain", "data": part.text}
        elif part.data:
            source = {
                "type": "base64",
                "media_type": part.mime or "application/pdf",
                "data": part.data,
            }
        elif part.url:
            if not self._takes("document.url"):
                return None
            source = {"type": "url", "url": part.url}
        elif self._request.dialect == NAME:
            source = {"type": "file", "file_id": part.file_id}
        else:
            self.losses.drop("document.file_id")
            return None
        block: dict[str, Any] = {"type": "document", "source": source}
        if part.title is not None:
            block["title"] = part.title
        if part.context is not None:
            block["context"] = part.context
        if part.cites is not None:
            block["citations"] = {"enabled": part.cites}
        block.update(self._cache(part.cache))
        return block

    def _cache(self, marker: CacheMarker | None) -> dict[str, Any]:
        if marker is None or not self._takes("cache_marker"):
            return {}
        if marker.ttl in _TTLS:
            ttl = marker.ttl
        else:
            ttl = "1h"
            self.losses.bend("cache_marker.ttl")
        self.may_mark = True
        value = {"type": "ephemeral"}
        if ttl is not None:
            value["ttl"] = ttl
        return {"cache_control": value}

    def bound_markers(self, *places: list[dict[str, Any]]) -> None:
        """Keep four markers, all that the API takes: the first and the last three.

        The first ends what changes least; the last ones reach furthest.
        """
        marked = [
            block
            for place in places
            for item in place
            for block in _marked_blocks(item)
            if "cache_control" in block
        ]
        if len(marked) <= MAX_CACHE_MARKERS:
            return
        self.losses.bend("cache_marker")
        for block in marked[1 : 1 - MAX_CACHE_MARKERS]:
            del block["cache_control"]


def _blocks_of(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a turn's blocks, to which more may be added; a lone text becomes one."""
    content = turn["content"]
    if isinstance(content, str):
        content = turn["content"] = [{"type": "text", "text": content}]
    blocks: list[dict[str, Any]] = content
    return blocks


def _tidy(turn: dict[str, Any], takes_texts: bool) -> None:
    """Put results first, as the API wants them, and write a lone text as a string."""
    blocks = turn["content"]
    if any(block["type"] == "tool_result" for block in blocks):
        blocks.sort(key=lambda block: block["type"] != "tool_result")
    elif (
        takes_texts
        and len(blocks) == 1
        and len(block := blocks[0]) == 2
        and block["type"] == "text"
    ):
        turn["content"] = block["text"]


def _marked_blocks(item: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a tool, a system block or a turn's blocks: what can hold a cache marker."""
    content = item.get("content")
    return content if isinstance(content, list) and "role" in item else [item]
