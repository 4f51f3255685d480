"""A `generateContent` request in its neutral form.

Model and streaming stand in the path, so the endpoint adds them. Source: `GenerateContentConfig`,
`Content`, `Part` and `Tool` of the google-genai package, 3.x, and the API reference.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tidegate.dialects.gemini.parts import NAME, camel, keyed, leave
from tidegate.dialects.gemini.prompt_read import _ITEMS, PromptReader, _Fields
from tidegate.dialects.neutral import (
    Message,
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolChoice,
)
from tidegate.dialects.reading import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
    TEXTS,
    check_request,
    request_fields,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadRequest

_EFFORTS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class _TextPart(_Strict):
    text: str


class _Texts(_Strict):
    """A turn, or the instructions."""

    parts: list[_TextPart] | None = None
    role: str | None = None


class _Sampling(_Strict):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: list[str] | None = None


class _PlainRequest(_Strict):
    """A request of texts and numbers in the API's own spelling, as most are."""

    contents: list[_Texts]
    system_instruction: _Texts | None = None
    generation_config: _Sampling | None = None


_decode_plain = msgspec.json.Decoder(_PlainRequest).decode
_ROLES: dict[str | None, Literal["user", "assistant"]] = {
    None: "user",
    "": "user",
    "user": "user",
    "function": "user",
    "model": "assistant",
}


def decode_request(body: bytes) -> NeutralRequest:
    """Read a request; raises `BadRequest` naming the field at fault.

    A plain one is read in one go, at an eighth of the cost; it says the same read key by key.
    """
    try:
        wire = _decode_plain(body)
    except UNREADABLE:
        return check_request(_read_apart(body))
    request = NeutralRequest(NAME, "", [], include_usage=True)
    if wire.system_instruction is not None:
        request.system = [Text(part.text) for part in wire.system_instruction.parts or ()]
    turns = request.messages
    for content in wire.contents:
        role = _ROLES.get(content.role)
        if role is None:
            break
        parts = content.parts
        if parts is not None and len(parts) == 1:
            turns.append(Message(role, [Text(parts[0].text)]))
        else:
            turns.append(Message(role, [Text(part.text) for part in parts or ()]))
    if not turns or len(turns) < len(wire.contents):
        return check_request(_read_apart(body))  # and be refused
    if wire.generation_config is not None:
        _read_sampling(request, wire.generation_config)
    return request


def _read_sampling(request: NeutralRequest, wire: _Sampling) -> None:
    if wire.temperature is not None:
        request.temperature = wire.temperature
    if wire.top_p is not None:
        request.top_p = wire.top_p
    if wire.top_k is not None:
        request.top_k = wire.top_k
    if wire.candidate_count is not None:
        request.n = wire.candidate_count
    if wire.max_output_tokens is not None:
        request.max_output_tokens = wire.max_output_tokens
    if wire.seed is not None:
        request.seed = wire.seed
    if wire.presence_penalty is not None:
        request.presence_penalty = wire.presence_penalty
    if wire.frequency_penalty is not None:
        request.frequency_penalty = wire.frequency_penalty
    if wire.stop_sequences is not None:
        request.stop = wire.stop_sequences


def _read_apart(body: bytes) -> NeutralRequest:
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


class _Reader(PromptReader):
    """Reads one request into its neutral form."""

    __slots__ = ()

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
            raw = fields.pop(name, None)
            if raw is None:
                return None
            value = NUMBER.read(raw, f"{where}.{name}", unread)  # the SDKs may write 40.0
            if value != int(value):
                raise BadRequest(f"'{where}.{name}' must be whole.", param=f"{where}.{name}")
            whole = bytes(raw).removeprefix(b"-").isdigit()
            return INTEGER.read(raw, f"{where}.{name}", unread) if whole else int(value)

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
