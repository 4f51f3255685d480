"""A `generateContent` request in its neutral form.

Model and streaming stand in the path, so the endpoint adds them. Source: `GenerateContentConfig`,
`Content`, `Part` and `Tool` of the google-genai package, 3.x, and the API reference.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.gemini.parts import NAME, camel, keyed, leave
from tidegate.dialects.neutral import (
    Audio,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaquePart,
    OpaqueTool,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.reading import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXTS,
    Shape,
    json_text,
    request_fields,
)
from tidegate.errors import BadRequest

_ITEMS: Shape[list[msgspec.Raw]] = Shape(list[msgspec.Raw])
_Fields = dict[str, msgspec.Raw]

#: Part kinds that only this API has.
_OPAQUE = (
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)
_EFFORTS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


def decode_request(body: bytes) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault."""
    given = {name: raw for name, raw in request_fields(body).items() if bytes(raw) != b"null"}
    fields = {camel(name): raw for name, raw in given.items()}
    fields.pop("model", None)  # repeated by some clients; the path decides
    request = NeutralRequest(NAME, "", [], include_usage=True)
    reader = _Reader(request)
    if "systemInstruction" in fields:
        reader.system(fields.pop("systemInstruction"))
    if "contents" not in fields:
        raise BadRequest("You must provide 'contents'.", param="contents")
    reader.contents(fields.pop("contents"))
    if "tools" in fields:
        reader.tools(fields.pop("tools"))
    if "toolConfig" in fields:
        reader.tool_config(fields.pop("toolConfig"))
    if "generationConfig" in fields:
        reader.generation_config(fields.pop("generationConfig"))
    # Under the name that the caller wrote.
    request.extra = {name: bytes(raw) for name, raw in given.items() if camel(name) in fields}
    request.unread = reader.unread
    return request


class _Reader:
    """Reads one request into its neutral form."""

    __slots__ = ("_request", "_results", "unread")

    def __init__(self, request: NeutralRequest) -> None:
        self._request = request
        #: Calls without an id get one; results without one answer calls of their name in order.
        self._results: dict[str, list[str]] = {}
        self.unread: list[str] = []

    # --- prompt -----------------------------------------------------------------------------

    def system(self, raw: msgspec.Raw) -> None:
        """Read the instructions: a content, or a plain text as some clients send it."""
        if bytes(raw)[:1] == b'"':
            self._request.system = [Text(TEXT.read(raw, "systemInstruction", self.unread))]
            return
        content = keyed(raw, "systemInstruction")
        content.pop("role", None)
        for number, item in enumerate(self._items(content, "parts", "systemInstruction.parts")):
            part = self._part(item, f"systemInstruction.parts[{number}]")
            if not isinstance(part, Text):
                raise BadRequest(
                    "'systemInstruction' may hold text only.", param="systemInstruction.parts"
                )
            self._request.system.append(part)
        leave(content, "systemInstruction", self.unread)

    def contents(self, raw: msgspec.Raw) -> None:
        """Read the turns: a list of contents, one content, or a plain text."""
        first = bytes(raw)[:1]
        if first == b'"':
            text = TEXT.read(raw, "contents", self.unread)
            self._request.messages.append(Message("user", [Text(text)]))
            return
        items = [raw] if first == b"{" else _ITEMS.read(raw, "contents", self.unread)
        if not items:
            raise BadRequest("'contents' must not be empty.", param="contents")
        for number, item in enumerate(items):
            path = f"contents[{number}]"
            content = keyed(item, path)
            role = "user"
            if "role" in content:
                role = TEXT.read(content.pop("role"), f"{path}.role", self.unread)
            if role not in ("user", "model", "function", ""):
                raise BadRequest(f"'{path}.role' must be user or model.", param=f"{path}.role")
            parts = [
                self._part(part, f"{path}.parts[{place}]")
                for place, part in enumerate(self._items(content, "parts", f"{path}.parts"))
            ]
            leave(content, "contents[]", self.unread)
            self._request.messages.append(
                Message("assistant" if role == "model" else "user", parts)
            )

    def _items(self, fields: _Fields, name: str, path: str) -> list[msgspec.Raw]:
        raw = fields.pop(name, None)
        return [] if raw is None else _ITEMS.read(raw, path, self.unread)

    def _part(self, raw: msgspec.Raw, path: str) -> Part:
        fields = keyed(raw, path)
        for kind in _OPAQUE:
            if kind in fields:
                return OpaquePart(NAME, kind, bytes(raw))
        signature = ""
        if "thoughtSignature" in fields:
            signature = TEXT.read(fields.pop("thoughtSignature"), path, self.unread)
        thought = "thought" in fields and FLAG.read(fields.pop("thought"), path, self.unread)
        part: Part
        if "functionCall" in fields:
            part = self._call(fields.pop("functionCall"), path, signature)
        elif "functionResponse" in fields:
            part = self._result(fields.pop("functionResponse"), path)
        elif "inlineData" in fields:
            part = self._inline(fields.pop("inlineData"), path)
        elif "fileData" in fields:
            part = self._file(fields.pop("fileData"), path)
        elif "text" in fields:
            text = TEXT.read(fields.pop("text"), f"{path}.text", self.unread)
            if thought or signature:
                leave(fields, "contents[].parts[]", self.unread)
                if not thought and text:
                    # The proof of thinking that was not shown hangs on the text it led to.
                    part = Text(text)
                    self._note_signature(signature)
                    return part
                return Thinking(text, signature or None, origin=NAME)
            part = Text(text)
        elif thought or signature:
            part = Thinking("", signature or None, origin=NAME)
        else:
            return OpaquePart(NAME, next(iter(fields), "empty"), bytes(raw))
        leave(fields, "contents[].parts[]", self.unread)
        return part

    def _note_signature(self, signature: str) -> None:
        if signature and "contents[].parts[].thoughtSignature" not in self.unread:
            self.unread.append("contents[].parts[].thoughtSignature")

    def _call(self, raw: msgspec.Raw, path: str, signature: str) -> ToolUse:
        fields = keyed(raw, f"{path}.functionCall")
        name = self._text(fields, "name", f"{path}.functionCall.name")
        identifier = self._text(fields, "id", f"{path}.functionCall.id")
        waiting = self._results.setdefault(name, [])
        if not identifier:
            identifier = f"call_{name}_{len(waiting)}"
        waiting.append(identifier)
        args = fields.pop("args", None)
        leave(fields, "contents[].parts[].functionCall", self.unread)
        return ToolUse(
            identifier,
            name,
            "{}" if args is None else json_text(bytes(args)),
            signature=signature,
        )

    def _result(self, raw: msgspec.Raw, path: str) -> ToolResult:
        fields = keyed(raw, f"{path}.functionResponse")
        name = self._text(fields, "name", f"{path}.functionResponse.name")
        identifier = self._text(fields, "id", f"{path}.functionResponse.id")
        waiting = self._results.get(name)
        if not identifier and waiting:
            identifier = waiting.pop(0)
        elif waiting and identifier in waiting:
            waiting.remove(identifier)
        response = fields.pop("response", None)
        fields.pop("scheduling", None)
        is_error = False
        text = "{}" if response is None else json_text(bytes(response))
        if response is not None and bytes(response)[:1] == b"{":
            inner = keyed(response, f"{path}.functionResponse.response")
            if len(inner) == 1:
                # The two names that the API documents for a result and for a failure.
                key, value = next(iter(inner.items()))
                if key in ("output", "result", "error"):
                    is_error = key == "error"
                    text = json_text(bytes(value))
                    if text[:1] == '"':
                        text = TEXT.read(value, path, self.unread)
        result = ToolResult(identifier or f"call_{name}_0", [Text(text)], is_error, name)
        for number, raw_media in enumerate(self._items(fields, "parts", path)):
            media = self._part(raw_media, f"{path}.functionResponse.parts[{number}]")
            if isinstance(media, (Image, Document, OpaquePart)):
                result.parts.append(media)
        leave(fields, "contents[].parts[].functionResponse", self.unread)
        return result

    def _text(self, fields: _Fields, name: str, path: str) -> str:
        raw = fields.pop(name, None)
        return "" if raw is None else TEXT.read(raw, path, self.unread)

    def _inline(self, raw: msgspec.Raw, path: str) -> Part:
        fields = keyed(raw, f"{path}.inlineData")
        mime = self._text(fields, "mimeType", f"{path}.inlineData.mimeType")
        data = self._text(fields, "data", f"{path}.inlineData.data")
        title = self._text(fields, "displayName", path) or None
        leave(fields, "contents[].parts[].inlineData", self.unread)
        if mime.startswith("image/"):
            return Image(mime=mime, data=data)
        if mime.startswith("audio/"):
            return Audio(data=data, format=mime.partition("/")[2])
        return Document(mime, data, title=title)

    def _file(self, raw: msgspec.Raw, path: str) -> Part:
        fields = keyed(raw, f"{path}.fileData")
        mime = self._text(fields, "mimeType", f"{path}.fileData.mimeType")
        uri = self._text(fields, "fileUri", f"{path}.fileData.fileUri")
        title = self._text(fields, "displayName", path) or None
        leave(fields, "contents[].parts[].fileData", self.unread)
        own = uri.startswith(("https://generativelanguage.googleapis.com/", "files/", "gs://"))
        if mime.startswith("image/"):
            return Image(file_id=uri, mime=mime) if own else Image(url=uri, mime=mime)
        if own:
            return Document(mime, file_id=uri, title=title)
        return Document(mime, url=uri, title=title)

    # --- tools ------------------------------------------------------------------------------

    def tools(self, raw: msgspec.Raw) -> None:
        """Read the tools: each entry holds many functions, or one tool that the provider runs."""
        for number, item in enumerate(_ITEMS.read(raw, "tools", self.unread)):
            fields = keyed(item, f"tools[{number}]")
            declarations = fields.pop("functionDeclarations", None)
            if declarations is not None:
                for place, one in enumerate(_ITEMS.read(declarations, "tools[]", self.unread)):
                    self._tool(one, f"tools[{number}].functionDeclarations[{place}]")
            for kind, value in fields.items():
                own = msgspec.json.encode({kind: value})
                self._request.tools.append(OpaqueTool(NAME, kind, own))

    def _tool(self, raw: msgspec.Raw, path: str) -> None:
        fields = keyed(raw, path)
        name = self._text(fields, "name", f"{path}.name")
        if not name:
            raise BadRequest(f"'{path}.name' is missing.", param=f"{path}.name")
        description = self._text(fields, "description", f"{path}.description") or None
        schema = fields.pop("parametersJsonSchema", None)
        older = fields.pop("parameters", None)
        if schema is not None:
            found: bytes | None = bytes(schema)
        else:
            found = None if older is None else plain_schema(bytes(older))
        self._request.tools.append(Tool(name, description, found))
        leave(fields, "tools[].functionDeclarations[]", self.unread)

    def tool_config(self, raw: msgspec.Raw) -> None:
        """Read which functions may be called."""
        fields = keyed(raw, "toolConfig")
        calling = fields.pop("functionCallingConfig", None)
        leave(fields, "toolConfig", self.unread)
        if calling is None:
            return
        path = "toolConfig.functionCallingConfig"
        inner = keyed(calling, path)
        mode = self._text(inner, "mode", f"{path}.mode").upper() or "AUTO"
        allowed = None
        if "allowedFunctionNames" in inner:
            allowed = TEXTS.read(inner.pop("allowedFunctionNames"), path, self.unread)
        leave(inner, path, self.unread)
        modes = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
        if mode not in modes:
            raise BadRequest(f"'{path}.mode' is not valid.", param=f"{path}.mode")
        choice = ToolChoice(modes[mode])  # type: ignore[arg-type]  # by the table
        if mode == "ANY" and allowed is not None and len(allowed) == 1:
            choice = ToolChoice("tool", allowed[0])
        elif allowed:
            choice.allowed = allowed
        self._request.tool_choice = choice
        if mode == "VALIDATED":
            for tool in self._request.tools:
                if isinstance(tool, Tool):
                    tool.strict = True

    # --- the rest ---------------------------------------------------------------------------

    def generation_config(self, raw: msgspec.Raw) -> None:
        """Read sampling, limits, the shape of the answer and thinking."""
        where = "generationConfig"
        fields = keyed(raw, where)
        request, unread = self._request, self.unread

        def number(name: str) -> float | None:
            value = fields.pop(name, None)
            return None if value is None else NUMBER.read(value, f"{where}.{name}", unread)

        def integer(name: str) -> int | None:
            value = number(name)  # the SDKs may write 40.0
            if value is None:
                return None
            if value != int(value):
                raise BadRequest(f"'{where}.{name}' must be whole.", param=f"{where}.{name}")
            return int(value)

        request.temperature = number("temperature")
        request.top_p = number("topP")
        request.top_k = integer("topK")
        request.n = integer("candidateCount")
        request.max_output_tokens = integer("maxOutputTokens")
        request.seed = integer("seed")
        request.presence_penalty = number("presencePenalty")
        request.frequency_penalty = number("frequencyPenalty")
        if "stopSequences" in fields:
            request.stop = TEXTS.read(fields.pop("stopSequences"), f"{where}.stopSequences", unread)
        if "responseLogprobs" in fields:
            request.logprobs = FLAG.read(fields.pop("responseLogprobs"), where, unread)
        if "logprobs" in fields:
            request.top_logprobs = INTEGER.read(fields.pop("logprobs"), where, unread)
        modalities = fields.get("responseModalities")
        if modalities is not None and bytes(modalities).upper() in (b'["TEXT"]', b"[]"):
            del fields["responseModalities"]
        self._format(fields)
        if "thinkingConfig" in fields:
            self._thinking(fields.pop("thinkingConfig"))
        leave(fields, where, unread)

    def _format(self, fields: _Fields) -> None:
        mime = self._text(fields, "responseMimeType", "generationConfig.responseMimeType")
        schema = fields.pop("responseJsonSchema", None)
        older = fields.pop("responseSchema", None)
        if schema is not None:
            found: bytes | None = bytes(schema)
        else:
            found = None if older is None else plain_schema(bytes(older))
        if found is not None:
            self._request.response_format = ResponseFormat("json_schema", schema=found, strict=True)
        elif mime == "application/json":
            self._request.response_format = ResponseFormat("json")
        elif mime not in ("", "text/plain"):
            self.unread.append("generationConfig.responseMimeType")

    def _thinking(self, raw: msgspec.Raw) -> None:
        path = "generationConfig.thinkingConfig"
        fields = keyed(raw, path)
        budget = level = None
        if "thinkingBudget" in fields:
            budget = INTEGER.read(
                fields.pop("thinkingBudget"), f"{path}.thinkingBudget", self.unread
            )
        if "thinkingLevel" in fields:
            level = TEXT.read(fields.pop("thinkingLevel"), f"{path}.thinkingLevel", self.unread)
        display = None
        if "includeThoughts" in fields:
            shown = FLAG.read(fields.pop("includeThoughts"), f"{path}.includeThoughts", self.unread)
            display = "summarized" if shown else "omitted"
        leave(fields, path, self.unread)
        effort = None if level is None else _EFFORTS.get(level.upper(), level.lower())
        if budget is None:
            self._request.reasoning = Reasoning(None, effort, display=display)
        elif budget == 0:
            self._request.reasoning = Reasoning("off", effort, display=display)
        elif budget < 0:
            self._request.reasoning = Reasoning("adaptive", effort, display=display)
        else:
            self._request.reasoning = Reasoning("budget", effort, budget, display)


def plain_schema(raw: bytes) -> bytes:
    """Return one of the API's own schemas as JSON Schema: types in lower case, no `nullable`.

    Anything that is not an object of the expected kind is left as it is.
    """
    try:
        return msgspec.json.encode(_plain(msgspec.json.decode(raw)))
    except (msgspec.DecodeError, RecursionError):
        return raw


def _plain(schema: object) -> object:
    if not isinstance(schema, dict):
        return schema
    plain: dict[str, object] = {}
    for key, value in schema.items():
        name = camel(key) if isinstance(key, str) else key
        if name == "type" and isinstance(value, str):
            plain["type"] = value.lower()
        elif name in ("properties", "$defs", "defs") and isinstance(value, dict):
            plain[name] = {inner: _plain(one) for inner, one in value.items()}
        elif name in ("items", "additionalProperties"):
            plain[name] = _plain(value)
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            plain[name] = [_plain(one) for one in value]
        elif name in ("minItems", "maxItems", "minLength", "maxLength") and isinstance(value, str):
            plain[name] = int(value) if value.isdigit() else value  # int64 is text in Google's JSON
        elif name not in ("nullable", "propertyOrdering"):
            plain[name] = value
    if schema.get("nullable") is True and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
    return plain
