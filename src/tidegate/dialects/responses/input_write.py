"""The turns of a neutral request as the items of a Responses `input`."""

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
from tidegate.dialects.responses.parts import KIN, NAME, annotation_of_citation
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

_TTLS = ("30m", "12h")


class InputWriter:
    """Writes the input of one request."""

    __slots__ = ("_custom_calls", "_items", "_losses", "_quirks", "_request")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses
        self._items: list[dict[str, Any]] = []
        self._custom_calls: set[str] = set()

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._quirks.unsupported:
            self._losses.drop(feature)
            return False
        return True

    def add_input(self, body: dict[str, Any]) -> None:
        """Write `instructions` and `input`."""
        request = self._request
        if request.system and any(text.cache for text in request.system) and self._marks():
            self._add_message("developer", list(request.system), "input[0]")
        elif request.system:
            for text in request.system:
                self._cache(text.cache)
            body["instructions"] = "\n\n".join([text.text for text in request.system])
        for number, message in enumerate(request.messages):
            if message.name is not None:
                self._losses.drop("message.name")
            parts, path = message.parts, f"messages[{number}]"
            if message.role == "system":
                self._add_message("developer", parts, path)
            elif message.role == "assistant":
                self._add_assistant(message, path)
            elif len(parts) == 1 and type(part := parts[0]) is Text:
                content = [self._text(part)]
                self._items.append({"type": "message", "role": "user", "content": content})
            else:
                self._add_user(message, path)
        if request.cache_last is not None:
            self._mark_last(request.cache_last)
        if not self._items:
            raise BadRequest("The request holds no turn for the model to answer.", param="messages")
        body["input"] = self._items

    def _marks(self) -> bool:
        return self._quirks.cache_marker_field == "prompt_cache_breakpoint"

    def _mark_last(self, cache: CacheMarker) -> None:
        """Put the marker for the end of the prompt on the last part that can hold one."""
        marker = self._cache(cache)
        if not marker:
            return
        last = self._items[-1] if self._items else {}
        parts = last.get("content") if last.get("role") == "user" else last.get("output")
        if isinstance(parts, str) and "output" in last:
            last["output"] = [{"type": "input_text", "text": parts, **marker}]
        elif isinstance(parts, list) and parts:
            ((field, value),) = marker.items()
            if parts[-1].setdefault(field, value) != value:
                self._losses.bend("cache_marker.ttl")  # the part's own marker stays
        else:
            self._losses.drop("cache_marker")

    def _add_message(self, role: str, parts: list[Part], path: str) -> None:
        content = [written for part in parts if (written := self._part(part)) is not None]
        if not content and parts:
            raise refuse_empty(path, "anything of this turn")
        self._items.append({"type": "message", "role": role, "content": content})

    def _add_user(self, message: Message, path: str) -> None:
        """Write a user's turn: results first, each an item of its own, then the rest."""
        rest: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                self._items.append(self._tool_result(part))
            elif isinstance(part, OpaquePart) and part.dialect == NAME and "input" not in part.kind:
                self._items.append(_object(part))
            else:
                rest.append(part)
        if rest or not message.parts:
            self._add_message("user", rest, path)

    def _tool_result(self, result: ToolResult) -> dict[str, Any]:
        written = [found for part in result.parts if (found := self._part(part)) is not None]
        if result.is_error:
            # There is no flag for it; the model has to read that the call failed.
            self._losses.bend("tool_result.is_error")
            if written and written[0]["type"] == "input_text":
                written[0]["text"] = "Error: " + written[0]["text"]
            else:
                written.insert(0, {"type": "input_text", "text": "Error."})
        marker = self._cache(result.cache)
        if marker and written:
            ((field, value),) = marker.items()
            if written[-1].setdefault(field, value) != value:
                self._losses.bend("cache_marker.ttl")  # two markers meet in one place
        elif marker:
            self._losses.drop("cache_marker")
        output: Any = written
        if not written:
            output = ""
        elif len(written) == 1 and set(written[0]) == {"type", "text"}:
            output = written[0]["text"]
        custom = result.tool_use_id in self._custom_calls
        return {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": result.tool_use_id,
            "output": output,
        }

    def _add_assistant(self, message: Message, path: str) -> None:
        before = len(self._items)
        spoken: list[Text | Refusal] = []
        summary = ""
        for part in message.parts:
            if isinstance(part, (Text, Refusal)):
                spoken.append(part)
                continue
            self._add_spoken(spoken)
            spoken = []
            if isinstance(part, Thinking):
                summary = self._add_thinking(part, summary)
            elif isinstance(part, ToolUse):
                self._items.append(self._tool_call(part))
            elif isinstance(part, OpaquePart) and part.dialect == NAME:
                self._items.append(_object(part))
            else:
                self._losses.drop("audio" if isinstance(part, Audio) else "part")
        self._add_spoken(spoken)
        if summary:
            self._losses.drop("thinking")
        if len(self._items) == before and any(
            not isinstance(part, (Thinking, Text)) for part in message.parts
        ):
            raise refuse_empty(path, "anything of this turn")

    def _add_spoken(self, parts: list[Text | Refusal]) -> None:
        """Write what the model said: as one string, unless there is more to it than text."""
        written = [
            self._answer_part(part)
            for part in parts
            if not isinstance(part, Text) or part.text or part.citations
        ]
        if not written:
            return
        item: dict[str, Any] = {"type": "message", "role": "assistant"}
        if all(part.get("annotations") == [] for part in written):
            item["content"] = "".join([part["text"] for part in written])
        else:
            # Only an answer's own form can hold them, and that one has an id and a status.
            item["id"] = f"msg_{len(self._items)}"
            item["status"] = "completed"
            item["content"] = written
        self._items.append(item)

    def _answer_part(self, part: Text | Refusal) -> dict[str, Any]:
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if part.cache is not None:
            self._losses.drop("cache_marker")
        annotations = []
        for citation in part.citations:
            annotation = annotation_of_citation(citation, len(part.text))
            if annotation is None:
                self._losses.drop("citations")
                continue
            if citation.dialect != NAME:
                self._losses.bend("citations")
            annotations.append(annotation)
        return {"type": "output_text", "text": part.text, "annotations": annotations}

    def _add_thinking(self, part: Thinking, summary: str) -> str:
        """Write reasoning that the provider can verify; return a summary that waits for its proof.

        Without it an item is one that the provider has never seen, and refuses.
        """
        if part.redacted is not None and part.origin == NAME:
            words = [{"type": "summary_text", "text": summary}] if summary else []
            # The id is wanted, but not looked at beside the content.
            item = {"type": "reasoning", "id": f"rs_{len(self._items)}", "summary": words}
            self._items.append({**item, "encrypted_content": part.redacted})
            return ""
        if summary:
            self._losses.drop("thinking")
        if part.redacted is None and not part.signature and part.text:
            return part.text
        self._losses.drop("thinking")
        return ""

    def _tool_call(self, part: ToolUse) -> dict[str, Any]:
        if part.cache is not None:
            self._losses.drop("cache_marker")
        if part.signature:
            self._losses.drop("tool_use.signature")  # another provider hung it on the call
        if part.custom:
            self._custom_calls.add(part.id)
            return {
                "type": "custom_tool_call",
                "call_id": part.id,
                "name": part.name,
                "input": part.arguments,
            }
        if json_object(part.arguments) is None:
            self._losses.bend("tool_use.arguments")  # it goes on as the text that it is
        return {
            "type": "function_call",
            "call_id": part.id,
            "name": part.name,
            "arguments": part.arguments or "{}",
        }

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            return self._text(part)
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, OpaquePart) and part.dialect == NAME:
            return _object(part)
        self._losses.drop("audio" if isinstance(part, Audio) else "part")
        return None

    def _text(self, part: Text) -> dict[str, Any]:
        if part.citations:
            self._losses.drop("citations")
        written: dict[str, Any] = {"type": "input_text", "text": part.text}
        if part.cache is not None:
            written.update(self._cache(part.cache))
        return written

    def _image(self, part: Image) -> dict[str, Any] | None:
        if not self._takes("image"):
            return None
        image: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        if part.detail is not None and not self._takes("image.detail"):
            image["detail"] = "auto"
        if part.file_id:
            if self._request.dialect not in KIN:
                self._losses.drop("image.file_id")  # the id is another provider's
                return None
            image["file_id"] = part.file_id
        elif part.url:
            if not self._takes("image.url"):
                return None
            image["image_url"] = part.url
        else:
            image["image_url"] = f"data:{part.mime};base64,{part.data}"
        return {**image, **self._cache(part.cache)}

    def _document(self, part: Document) -> dict[str, Any] | None:
        if not self._takes("document"):
            return None
        if part.context is not None:
            self._losses.drop("document.context")
        if part.cites:
            self._losses.drop("document.citations")
        if part.text:
            self._losses.bend("document")
            text = part.text if part.title is None else f"{part.title}\n\n{part.text}"
            return {"type": "input_text", "text": text, **self._cache(part.cache)}
        file: dict[str, Any] = {"type": "input_file"}
        if part.data:
            file["file_data"] = f"data:{part.mime};base64,{part.data}"
            file["filename"] = part.title or "document.pdf"  # the API wants a name beside data
        elif part.url:
            if not self._takes("document.url"):
                return None
            file["file_url"] = part.url
        elif self._request.dialect in KIN:
            file["file_id"] = part.file_id
        else:
            self._losses.drop("document.file_id")
            return None
        if part.title is not None and "filename" not in file:
            if part.url:
                self._losses.drop("document.title")  # a name beside an address is refused
            else:
                file["filename"] = part.title
        return {**file, **self._cache(part.cache)}

    def _cache(self, marker: CacheMarker | None) -> dict[str, Any]:
        if marker is None:
            return {}
        if not self._marks():
            self._losses.drop("cache_marker")
            return {}
        value = {"mode": "explicit"}
        if marker.ttl is not None:
            if marker.ttl in _TTLS:
                value["ttl"] = marker.ttl
            else:
                self._losses.bend("cache_marker.ttl")
        return {"prompt_cache_breakpoint": value}


def _object(part: OpaquePart) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(part.raw, type=dict[str, msgspec.Raw])
    return found
