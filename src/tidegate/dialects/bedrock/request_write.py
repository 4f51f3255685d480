"""A neutral request as a Converse request.

What the API insists on is seen to here: turns alternate and begin with the user's, documents have
a name and a turn with one has text, results come first in their turn. Images and documents
travel as bytes only.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from tidegate.dialects.anthropic.sampling import sampling_of
from tidegate.dialects.bedrock.answer import NAME
from tidegate.dialects.encode import (
    CUSTOM_SCHEMA,
    NO_SCHEMA,
    call_arguments,
    encode_json,
    refuse_empty,
    report_leftovers,
    says,
)
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    NeutralRequest,
    OpaquePart,
    OpaqueTool,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

_BAD_ID_SIGNS = re.compile(r"[^a-zA-Z0-9_-]")
_BAD_NAME_SIGNS = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_MAX_LABELS = 16
_LABEL = re.compile(r"[a-zA-Z0-9 :_@$#=/+,.-]{1,256}\Z")
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
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
_BUDGET_OF_EFFORT = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}
#: Features that the API has no place for: how to see that a request has one.
_ABSENT = (
    ("seed", None),
    ("presence_penalty", 0),
    ("frequency_penalty", 0),
    ("n", 1),
    ("user", None),
)


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request*; return the body and what was lost. *model* goes into the path."""
    losses = Losses()
    prompt = _Prompt(request, quirks, losses)
    system, messages = prompt.write()
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = system
    settings = _Settings(request, quirks, losses)
    settings.add_tools(body, prompt)
    settings.add_inference(body, sampling_of(model))
    settings.add_reasoning(body)
    settings.add_format(body)
    settings.add_metadata(body)
    settings.name_the_rest()
    body.update(report_leftovers(request, quirks, losses))
    return encode_json(body), losses.listed()


class _Prompt:
    """Writes instructions and turns."""

    __slots__ = ("_losses", "_quirks", "_request")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses

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
        for number, message in enumerate(request.messages):
            if message.name is not None:
                self._losses.drop("message.name")
            blocks = [block for part in message.parts for block in self._blocks(part)]
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
            block: Any = self._tool_use(part)
        elif isinstance(part, ToolResult):
            block = self._tool_result(part)
        elif isinstance(part, Thinking):
            block = self._thinking(part)
        elif isinstance(part, Image):
            block = self._image(part)
        elif isinstance(part, Document):
            block = self._document(part)
        elif isinstance(part, Refusal):
            self._losses.bend("refusal")
            block = {"text": part.text} if part.text else None
        elif isinstance(part, OpaquePart) and part.dialect == NAME:
            block = msgspec.Raw(part.raw)
        else:
            self._losses.drop("audio" if isinstance(part, Audio) else "part")
            block = None
        point = self.cache_point(getattr(part, "cache", None))
        return point if block is None else [block, *point]

    def _text(self, part: Text) -> list[Any]:
        if part.citations:
            self._losses.drop("citations")
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


class _Settings:
    """Writes tools, sampling and thinking."""

    __slots__ = ("_losses", "_quirks", "_request")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses

    def add_tools(self, body: dict[str, Any], prompt: _Prompt) -> None:
        """Write the tools and which of them may be called."""
        request, losses = self._request, self._losses
        choice = request.tool_choice
        if request.parallel_tool_calls is False:
            losses.drop("parallel_tool_calls")
        allowed = None if choice is None else choice.allowed
        if allowed is not None:
            losses.bend("tool_choice.allowed")
        given = request.tools
        if choice is not None and choice.mode == "none":
            # The API has no word for it: the model is not told of any tool, if that can be.
            if given:
                losses.bend("tool_choice")
                losses.bend("tool")
            given, choice = [], None
        if not given and (used := _tools_used(request)):
            # Turns with calls are only taken beside tools.
            losses.bend("tool_use")
            given = used
        tools: list[Any] = []
        for tool in given:
            if isinstance(tool, OpaqueTool):
                losses.drop("tool.builtin")
            elif allowed is None or tool.name in allowed:
                tools.append(self._tool(tool))
                tools += prompt.cache_point(tool.cache)
        if not tools:
            if choice is not None:
                losses.drop("tool_choice")
            return
        config: dict[str, Any] = {"tools": tools}
        if choice is not None and choice.mode == "tool":
            config["toolChoice"] = {"tool": {"name": choice.name}}
        elif choice is not None:
            config["toolChoice"] = {"any" if choice.mode == "required" else "auto": {}}
        body["toolConfig"] = config

    def _tool(self, tool: Tool) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        if tool.custom_format is not None:
            self._losses.bend("tool.custom")
            spec["inputSchema"] = {"json": CUSTOM_SCHEMA}
        else:
            schema = NO_SCHEMA if tool.schema is None else msgspec.Raw(tool.schema)
            spec["inputSchema"] = {"json": schema}
        if tool.strict is not None:
            if "tool.strict" in self._quirks.unsupported:
                self._losses.drop("tool.strict")
            else:
                spec["strict"] = tool.strict
        return {"toolSpec": spec}

    def add_format(self, body: dict[str, Any]) -> None:
        """Write the schema of the answer's text, as JSON within a text."""
        wanted, losses = self._request.response_format, self._losses
        if wanted is None:
            return
        if wanted.schema is None or "response_format" in self._quirks.unsupported:
            losses.drop("response_format")
            return
        schema = {"schema": str(wanted.schema, "utf-8")}
        if wanted.name:
            schema["name"] = wanted.name
        if wanted.description is not None:
            schema["description"] = wanted.description
        if wanted.strict is False:
            losses.bend("response_format.strict")
        text = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body["outputConfig"] = {"textFormat": text}

    def add_metadata(self, body: dict[str, Any]) -> None:
        """Write the caller's labels, where they are what the API takes: texts of plain signs."""
        if self._request.metadata is None:
            return
        try:
            labels = _decode_labels(self._request.metadata)
        except msgspec.DecodeError:
            labels = {}
        if not 0 < len(labels) <= _MAX_LABELS or not all(
            _LABEL.match(text) for pair in labels.items() for text in pair
        ):
            self._losses.drop("metadata")
            return
        body["requestMetadata"] = labels

    def add_inference(self, body: dict[str, Any], taken: Literal["all", "one", "none"]) -> None:
        """Write limits and sampling, as much of it as the model takes; see `sampling_of`."""
        request, losses = self._request, self._losses
        config: dict[str, Any] = {}
        wanted, most = request.max_output_tokens, self._quirks.max_output_tokens
        if wanted is not None and most is not None and wanted > most:
            losses.bend("max_output_tokens")
            wanted = most
        if wanted is not None:
            config["maxTokens"] = wanted
        if taken == "none":
            if request.temperature not in (None, 1):
                losses.drop("temperature")
        elif request.temperature is not None:
            config["temperature"] = min(request.temperature, 1.0)
            if request.temperature > 1:
                losses.bend("temperature")  # the scale ends at 1 here and at 2 there
        too_much = taken == "none" or (taken == "one" and "temperature" in config)
        if request.top_p is not None and too_much:
            if request.top_p != 1:
                losses.drop("top_p")
        elif request.top_p is not None:
            config["topP"] = request.top_p
        if request.stop:
            config["stopSequences"] = request.stop
        if config:
            body["inferenceConfig"] = config
        if request.top_k is not None:
            if "top_k" in self._quirks.pass_fields and taken != "none":
                body.setdefault("additionalModelRequestFields", {})["top_k"] = request.top_k
            else:
                losses.drop("top_k")

    def add_reasoning(self, body: dict[str, Any]) -> None:
        """Write how much to think, for models that take a budget as Anthropic's do."""
        reasoning, losses = self._request.reasoning, self._losses
        if reasoning is None or reasoning.mode == "off" or reasoning.effort == "none":
            return
        if self._quirks.thinking != "budget":
            losses.drop("reasoning")
            return
        budget = reasoning.budget_tokens
        if budget is None or reasoning.effort is not None:
            losses.bend("reasoning")
        if budget is None:
            budget = _BUDGET_OF_EFFORT.get(reasoning.effort or "medium", 16384)
        if reasoning.display is not None:
            losses.drop("reasoning.display")
        limit = self._request.max_output_tokens
        if limit is not None and budget >= limit:
            losses.bend("reasoning.budget")
            budget = limit - 1
        if budget < 1024:
            losses.drop("reasoning")
            return
        fields = body.setdefault("additionalModelRequestFields", {})
        fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        if body.get("inferenceConfig", {}).pop("temperature", 1.0) != 1.0:
            losses.drop("temperature")

    def name_the_rest(self) -> None:
        """Name what this API has no place for at all."""
        request, losses = self._request, self._losses
        for name, default in _ABSENT:
            value = getattr(request, name)
            if value is not None and value != default:
                losses.drop(name)
        if request.logprobs or request.top_logprobs:
            losses.drop("logprobs")


def _tools_used(request: NeutralRequest) -> list[Tool | OpaqueTool]:
    """Return the tools that the conversation has calls of, as far as the caller described them."""
    names = dict.fromkeys(
        part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolUse)
    )
    known = {tool.name: tool for tool in request.tools if isinstance(tool, Tool)}
    return [known.get(name) or Tool(name) for name in names]


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
