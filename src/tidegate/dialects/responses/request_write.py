"""A neutral request as a Responses request.

Text comes out as it went in and fields in a fixed order, so equal requests are equal bytes.
Nothing is to be kept by the provider: whoever asks in another dialect sends its history itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json, json_object, refuse_empty, report_leftovers
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    OpaqueTool,
    Part,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.openai.chat_write import effort_of_budget, is_strict_schema
from tidegate.dialects.responses.parts import NAME, annotation_of_citation
from tidegate.dialects.responses.request_read import ENCRYPTED_REASONING, LOGPROBS
from tidegate.dialects.wire import Quirks

_TTLS = ("30m", "12h")
#: Dialects whose file ids a Responses provider knows, and whose schemas are written for it.
_KIN = ("openai", NAME)


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request* for *model*; return the body and what was lost."""
    writer = _Writer(request, quirks)
    body: dict[str, Any] = {"model": model}
    writer.add_input(body)
    writer.add_tools(body)
    writer.add_sampling(body)
    writer.add_output(body)
    body.update(report_leftovers(request, quirks, writer.losses))
    return encode_json(body), writer.losses.listed()


class _Writer:
    """Writes one request; collects its losses."""

    __slots__ = ("_custom_calls", "_items", "_quirks", "_request", "losses")

    def __init__(self, request: NeutralRequest, quirks: Quirks) -> None:
        self._request = request
        self._quirks = quirks
        self._items: list[dict[str, Any]] = []
        self._custom_calls: set[str] = set()
        self.losses = Losses()

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._quirks.unsupported:
            self.losses.drop(feature)
            return False
        return True

    # --- input ------------------------------------------------------------------------------

    def add_input(self, body: dict[str, Any]) -> None:
        request = self._request
        if request.system and any(text.cache for text in request.system) and self._marks():
            self._add_message("developer", list(request.system), "input[0]")
        elif request.system:
            for text in request.system:
                self._cache(text.cache)
            body["instructions"] = "\n\n".join([text.text for text in request.system])
        for number, message in enumerate(request.messages):
            path = f"messages[{number}]"
            if message.name is not None:
                self.losses.drop("message.name")
            if message.role == "system":
                self._add_message("developer", message.parts, path)
            elif message.role == "assistant":
                self._add_assistant(message, path)
            else:
                self._add_user(message, path)
        if request.cache_last is not None:
            self._mark_last(request.cache_last)
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
        elif isinstance(parts, list) and parts and parts[-1]["type"] != "input_audio":
            ((field, value),) = marker.items()
            if parts[-1].setdefault(field, value) != value:
                self.losses.bend("cache_marker.ttl")  # the part's own marker stays
        else:
            self.losses.drop("cache_marker")

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
            self.losses.bend("tool_result.is_error")
            if written and written[0]["type"] == "input_text":
                written[0]["text"] = "Error: " + written[0]["text"]
            else:
                written.insert(0, {"type": "input_text", "text": "Error."})
        marker = self._cache(result.cache)
        if marker and written:
            ((field, value),) = marker.items()
            if written[-1].setdefault(field, value) != value:
                self.losses.bend("cache_marker.ttl")  # two markers meet in one place
        elif marker:
            self.losses.drop("cache_marker")
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
        content: list[dict[str, Any]] = []
        summary = ""
        for part in message.parts:
            if isinstance(part, (Text, Refusal)):
                if isinstance(part, Text) and not part.text and not part.citations:
                    continue
                if not content:
                    self._items.append({"type": "message", "role": "assistant", "content": content})
                content.append(self._answer_part(part))
                continue
            content = []
            if isinstance(part, Thinking):
                summary = self._add_thinking(part, summary)
            elif isinstance(part, ToolUse):
                self._items.append(self._tool_call(part))
            elif isinstance(part, OpaquePart) and part.dialect == NAME:
                self._items.append(_object(part))
            else:
                self.losses.drop("audio" if isinstance(part, Audio) else "part")
        if summary:
            self.losses.drop("thinking")
        if len(self._items) == before and any(
            not isinstance(part, (Thinking, Text)) for part in message.parts
        ):
            raise refuse_empty(path, "anything of this turn")

    def _answer_part(self, part: Text | Refusal) -> dict[str, Any]:
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if part.cache is not None:
            self.losses.drop("cache_marker")
        annotations = []
        for citation in part.citations:
            annotation = annotation_of_citation(citation, len(part.text))
            if annotation is None:
                self.losses.drop("citations")
                continue
            if citation.dialect != NAME:
                self.losses.bend("citations")
            annotations.append(annotation)
        return {"type": "output_text", "text": part.text, "annotations": annotations}

    def _add_thinking(self, part: Thinking, summary: str) -> str:
        """Write reasoning that the provider can verify; return a summary that waits for its proof.

        Without it an item is one that the provider has never seen, and refuses.
        """
        if part.redacted is not None and part.origin == NAME:
            words = [{"type": "summary_text", "text": summary}] if summary else []
            self._items.append(
                {"type": "reasoning", "summary": words, "encrypted_content": part.redacted}
            )
            return ""
        if summary:
            self.losses.drop("thinking")
        if part.redacted is None and not part.signature and part.text:
            return part.text
        self.losses.drop("thinking")
        return ""

    def _tool_call(self, part: ToolUse) -> dict[str, Any]:
        if part.cache is not None:
            self.losses.drop("cache_marker")
        if part.signature:
            self.losses.drop("thinking")  # the state that another provider hung on the call
        if part.custom:
            self._custom_calls.add(part.id)
            return {
                "type": "custom_tool_call",
                "call_id": part.id,
                "name": part.name,
                "input": part.arguments,
            }
        if json_object(part.arguments) is None:
            self.losses.bend("tool_use.arguments")  # it goes on as the text that it is
        return {
            "type": "function_call",
            "call_id": part.id,
            "name": part.name,
            "arguments": part.arguments or "{}",
        }

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text):
            if part.citations:
                self.losses.drop("citations")
            return {"type": "input_text", "text": part.text, **self._cache(part.cache)}
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Audio) and part.data:
            if not self._takes("audio"):
                return None
            if part.cache is not None:
                self.losses.drop("cache_marker")
            sound = {"data": part.data, "format": part.format}
            return {"type": "input_audio", "input_audio": sound}
        if isinstance(part, OpaquePart) and part.dialect == NAME:
            return _object(part)
        self.losses.drop("audio" if isinstance(part, Audio) else "part")
        return None

    def _image(self, part: Image) -> dict[str, Any] | None:
        if not self._takes("image"):
            return None
        image: dict[str, Any] = {"type": "input_image", "detail": part.detail or "auto"}
        if part.detail is not None and not self._takes("image.detail"):
            image["detail"] = "auto"
        if part.file_id:
            if self._request.dialect not in _KIN:
                self.losses.drop("image.file_id")  # the id is another provider's
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
            self.losses.drop("document.context")
        if part.cites:
            self.losses.drop("document.citations")
        if part.text:
            self.losses.bend("document")
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
        elif self._request.dialect in _KIN:
            file["file_id"] = part.file_id
        else:
            self.losses.drop("document.file_id")
            return None
        if part.title is not None and "filename" not in file:
            if part.url:
                self.losses.drop("document.title")  # a name beside an address is refused
            else:
                file["filename"] = part.title
        return {**file, **self._cache(part.cache)}

    def _cache(self, marker: CacheMarker | None) -> dict[str, Any]:
        if marker is None:
            return {}
        if not self._marks():
            self.losses.drop("cache_marker")
            return {}
        value = {"mode": "explicit"}
        if marker.ttl is not None:
            if marker.ttl in _TTLS:
                value["ttl"] = marker.ttl
            else:
                self.losses.bend("cache_marker.ttl")
        return {"prompt_cache_breakpoint": value}

    # --- the rest ---------------------------------------------------------------------------

    def add_tools(self, body: dict[str, Any]) -> None:
        request = self._request
        tools = [written for tool in request.tools if (written := self._tool(tool)) is not None]
        if not tools:
            if request.tool_choice is not None and request.tool_choice.mode != "none":
                self.losses.drop("tool_choice")
            if request.parallel_tool_calls is not None:
                self.losses.drop("parallel_tool_calls")
            return
        body["tools"] = tools
        if request.tool_choice is not None and self._takes("tool_choice"):
            body["tool_choice"] = self._tool_choice()
        if request.parallel_tool_calls is not None and self._takes("parallel_tool_calls"):
            body["parallel_tool_calls"] = request.parallel_tool_calls

    def _tool_choice(self) -> Any:
        choice = self._request.tool_choice
        assert choice is not None
        custom = {
            tool.name
            for tool in self._request.tools
            if isinstance(tool, Tool) and tool.custom_format is not None
        }

        def named(name: str) -> dict[str, Any]:
            return {"type": "custom" if name in custom else "function", "name": name}

        if choice.mode == "tool":
            return named(choice.name)
        if choice.allowed is None or not self._takes("tool_choice.allowed"):
            return choice.mode
        return {
            "type": "allowed_tools",
            "mode": choice.mode,
            "tools": [named(name) for name in choice.allowed],
        }

    def _tool(self, tool: Tool | OpaqueTool) -> Any | None:
        if isinstance(tool, OpaqueTool):
            if tool.dialect == NAME:
                return msgspec.Raw(tool.raw)
            self.losses.drop("tool.builtin")
            return None
        if not self._takes("tool"):
            return None
        if tool.cache is not None:
            self.losses.drop("cache_marker")
        written: dict[str, Any] = {"type": "function", "name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.custom_format is not None:
            if not self._takes("tool.custom"):
                return None
            written["type"] = "custom"
            if tool.custom_format != b"{}":
                written["format"] = msgspec.Raw(tool.custom_format)
            return written
        written["parameters"] = None if tool.schema is None else msgspec.Raw(tool.schema)
        if tool.strict is not None:
            if self._takes("tool.strict"):
                written["strict"] = tool.strict
        elif self._request.dialect != NAME:
            written["strict"] = False  # exactness is the default here and nowhere else
        return written

    def add_sampling(self, body: dict[str, Any]) -> None:
        request, quirks = self._request, self._quirks
        limit = request.max_output_tokens
        if limit is not None and self._takes("max_output_tokens"):
            if quirks.max_output_tokens is not None and limit > quirks.max_output_tokens:
                self.losses.bend("max_output_tokens")
                limit = quirks.max_output_tokens
            body["max_output_tokens"] = limit
        sampling = (("temperature", request.temperature), ("top_p", request.top_p))
        body.update(
            {name: value for name, value in sampling if value is not None and self._takes(name)}
        )
        if request.top_logprobs is not None and self._takes("logprobs"):
            body["top_logprobs"] = request.top_logprobs
        for name, given, default in (
            ("top_k", request.top_k, None),
            ("seed", request.seed, None),
            ("presence_penalty", request.presence_penalty, 0),
            ("frequency_penalty", request.frequency_penalty, 0),
            ("n", request.n, 1),
        ):
            if given is None or given == default:
                continue
            if name in quirks.pass_fields:
                body[name] = given
            else:
                self.losses.drop(name)
        if request.stop:
            self.losses.drop("stop")

    def add_output(self, body: dict[str, Any]) -> None:
        request = self._request
        include = []
        if request.logprobs and self._takes("logprobs"):
            include.append(LOGPROBS)
        self._add_format(body)
        if self._add_reasoning(body):
            include.append(ENCRYPTED_REASONING)
        if include:
            body["include"] = include
        if request.user is not None and self._takes("user"):
            body["safety_identifier"] = request.user
        if request.metadata is not None and self._takes("metadata"):
            body["metadata"] = msgspec.Raw(request.metadata)
        body["store"] = False
        if request.stream:
            body["stream"] = True

    def _add_format(self, body: dict[str, Any]) -> None:
        wanted = self._request.response_format
        if wanted is None or not self._takes("response_format"):
            return
        if wanted.kind == "json":
            body["text"] = {"format": {"type": "json_object"}}
            return
        if wanted.schema is None:
            self.losses.drop("response_format")
            return
        written: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer"}
        if wanted.description is not None:
            written["description"] = wanted.description
        written["schema"] = msgspec.Raw(wanted.schema)
        if wanted.strict is not None and self._takes("response_format.strict"):
            written["strict"] = self._strict(wanted)
        body["text"] = {"format": written}

    def _strict(self, wanted: ResponseFormat) -> bool | None:
        """Return whether to ask for the exact schema.

        OpenAI's models want every property required then; other dialects do not, and a schema
        that leaves some out would be refused.
        """
        if not wanted.strict or self._request.dialect in _KIN:
            return wanted.strict
        if wanted.schema is not None and is_strict_schema(wanted.schema):
            return True
        self.losses.bend("response_format.strict")
        return False

    def _add_reasoning(self, body: dict[str, Any]) -> bool:
        """Write how much to think; return whether the model may think at all."""
        reasoning = self._request.reasoning
        if reasoning is None:
            return False
        if self._quirks.thinking == "none" or "reasoning" in self._quirks.unsupported:
            if reasoning.mode != "off":
                self.losses.drop("reasoning")
            return False
        if reasoning.mode == "between_tools":
            self.losses.bend("reasoning")
        effort = reasoning.effort
        if reasoning.mode == "off":
            effort = "none"
        elif reasoning.budget_tokens is not None:
            self.losses.bend("reasoning.budget")
            effort = effort or effort_of_budget(reasoning.budget_tokens)
        elif effort is None and reasoning.mode is not None:
            self.losses.bend("reasoning")  # the model thinks as much as it does by default
        written: dict[str, Any] = {}
        if effort is not None:
            written["effort"] = effort
        if reasoning.display == "summarized":
            written["summary"] = "auto"
        elif reasoning.display is not None:
            self.losses.bend("reasoning.display")  # nothing is shown that was not asked for
        if written:
            body["reasoning"] = written
        return effort != "none"


def _object(part: OpaquePart) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(part.raw, type=dict[str, msgspec.Raw])
    return found
