"""The neutral form: what a chat request, its answer and its stream mean, in no one's dialect.

A front decodes the caller's bytes into it, a back encodes it for the target, and the answer
comes back the same way. It is the union of what the dialects can say, never their common
part: what a target cannot express is named by its encoder (see `fidelity`).

JSON that no dialect looks into (schemas, tool arguments, citations, unknown fields) stays the
text it was: key order, spacing and numbers keep their bytes, so prompt caches stay warm.
`bytes` fields hold JSON text, base64 is kept as the text the caller sent.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from tidegate.dialects.usage import Usage

# --- parts of a message ---------------------------------------------------------------------


class CacheMarker(msgspec.Struct, frozen=True):
    """Ends a prompt prefix that the provider is asked to keep; *ttl* as written, such as `5m`."""

    ttl: str | None = None


class Text(msgspec.Struct):
    """Plain text. `citations` are JSON objects of the dialect that wrote them."""

    text: str
    cache: CacheMarker | None = None
    citations: list[Citation] = []


class Citation(msgspec.Struct):
    """Where a piece of an answer's text comes from.

    Attributes:
        cited_text: The words of the source, where the provider quotes them.
        url: Address of the source, empty for a document of the request.
        title: Title of the source.
        start: First character of the answer's text that it supports; None when unknown.
        end: Character behind the last one; None when unknown.
        dialect: Name of the dialect that `raw` is written in.
        raw: The whole citation as JSON, for a caller of that dialect.
    """

    cited_text: str = ""
    url: str = ""
    title: str = ""
    start: int | None = None
    end: int | None = None
    dialect: str = ""
    raw: bytes = b""


class Image(msgspec.Struct):
    """An image: exactly one of `url`, `data` (base64, with `mime`) and `file_id` is set.

    A `data:` URL is always split into `mime` and `data`.
    """

    url: str = ""
    mime: str = ""
    data: str = ""
    file_id: str = ""
    detail: str | None = None
    cache: CacheMarker | None = None


class Document(msgspec.Struct):
    """A document: one of `data` (base64), `text`, `url`, `file_id` is set.

    Attributes:
        mime: Media type, such as `application/pdf`.
        title: File name or title.
        context: What the model is told about it beside its content.
        cites: Whether the answer shall cite it; None where the caller did not say.
    """

    mime: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    file_id: str = ""
    title: str | None = None
    context: str | None = None
    cites: bool | None = None
    cache: CacheMarker | None = None


class Audio(msgspec.Struct):
    """Sound: `data` in base64 and its `format` (`wav`, `mp3`), or the `id` of an earlier answer's.

    Attributes:
        transcript: What is said in it (answers only).
    """

    data: str = ""
    format: str = ""
    id: str = ""
    transcript: str = ""
    cache: CacheMarker | None = None


class ToolUse(msgspec.Struct):
    """The model calls a tool.

    Attributes:
        arguments: JSON text of the arguments as the model wrote it, which may be no JSON at all;
            free text when `custom`.
        custom: A tool that takes free text in place of JSON.
        signature: Opaque state that Gemini wants back with the call.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: str = ""
    cache: CacheMarker | None = None


class ToolResult(msgspec.Struct):
    """What a tool gave back; stands in a `user` message. `name` is empty where unknown."""

    tool_use_id: str
    parts: list[Text | Image | Document | OpaquePart]
    is_error: bool = False
    name: str = ""
    cache: CacheMarker | None = None


class Thinking(msgspec.Struct):
    """The model's reasoning.

    Attributes:
        text: What may be read of it.
        signature: Proof that the provider wants back unchanged; None when it gave none.
        redacted: Reasoning that only the provider can read, as it was; `text` is empty then.
        origin: Dialect whose provider signed it, where known: a proof means nothing to another.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""


class Refusal(msgspec.Struct):
    """The model's own words for why it does not answer."""

    text: str


class OpaquePart(msgspec.Struct):
    """A part that only one dialect knows, as it was: server tools, containers, search results."""

    dialect: str
    kind: str
    raw: bytes


Part: TypeAlias = (
    Text | Image | Document | Audio | ToolUse | ToolResult | Thinking | Refusal | OpaquePart
)

# --- request --------------------------------------------------------------------------------


class Message(msgspec.Struct):
    """One turn. Tool results stand in `user` turns; `system` turns are those behind the first."""

    role: Literal["system", "user", "assistant"]
    parts: list[Part]
    name: str | None = None


class Tool(msgspec.Struct):
    """A function that the model may call.

    Attributes:
        schema: JSON schema of the arguments (an object); None for a tool without any.
        strict: Whether arguments must follow the schema exactly; None where not said.
        custom_format: For tools that take free text: JSON of its format, `b"{}"` for any text.
    """

    name: str
    description: str | None = None
    schema: bytes | None = None
    strict: bool | None = None
    custom_format: bytes | None = None
    cache: CacheMarker | None = None


class OpaqueTool(msgspec.Struct):
    """A tool that the provider runs itself (web search, …), as it was."""

    dialect: str
    kind: str
    raw: bytes


class ToolChoice(msgspec.Struct):
    """Which tools may or must be called; `name` with mode `tool`; `allowed` narrows the list."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str = ""
    allowed: list[str] | None = None


class ResponseFormat(msgspec.Struct):
    """Shape of the answer's text: any JSON object (`json`) or JSON of a schema."""

    kind: Literal["json", "json_schema"]
    name: str = ""
    description: str | None = None
    schema: bytes | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct):
    """How much the model shall think.

    Attributes:
        mode: `off`; `adaptive` (the model decides); `budget`; `between_tools`; None for whatever
            the effort means to the model.
        effort: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
        budget_tokens: Most tokens to think with, in mode `budget`.
        display: Whether reasoning is shown: `summarized` or `omitted`.
    """

    mode: Literal["off", "adaptive", "budget", "between_tools"] | None = None
    effort: str | None = None
    budget_tokens: int | None = None
    display: str | None = None


class NeutralRequest(msgspec.Struct):
    """A chat request.

    Attributes:
        dialect: Name of the dialect it was written in.
        system: Instructions that come before the first turn.
        include_usage: Whether the caller asked for the usage event of a stream.
        user: The caller's stable name for its end user.
        metadata: The caller's labels, a JSON object.
        cache_last: Cache marker for the last part of the prompt, wherever that is.
        legacy_functions: The caller knows OpenAI's functions, not tools, and is answered so.
        extra: Top-level fields that the neutral form has no place for, by the caller's name, as
            JSON; nulls are left out.
        unread: Paths of fields further down that the neutral form has no place for.
    """

    dialect: str
    model: str
    messages: list[Message]
    system: list[Text] = []
    tools: list[Tool | OpaqueTool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stop: list[str] = []
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: bytes | None = None
    stream: bool = False
    include_usage: bool = False
    cache_last: CacheMarker | None = None
    legacy_functions: bool = False
    extra: dict[str, bytes] = {}
    unread: list[str] = []


# --- answer ---------------------------------------------------------------------------------

#: Why an answer ended. `stop_sequence` is a stop that the caller's own words caused; `refusal`
#: covers content filters; `pause` wants the turn sent back to go on; `context` is a full window.
FinishReason: TypeAlias = Literal[
    "stop", "stop_sequence", "length", "tool_use", "refusal", "pause", "context", "other"
]


class Choice(msgspec.Struct):
    """One of an answer's alternatives; `logprobs` is OpenAI's JSON."""

    parts: list[Part]
    finish: FinishReason
    stop_sequence: str | None = None
    index: int = 0
    logprobs: bytes | None = None


class NeutralAnswer(msgspec.Struct):
    """A whole answer. `created_s` is Unix time, 0 when the provider does not tell."""

    id: str
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    created_s: int = 0


class WireError(msgspec.Struct):
    """An error as an upstream told it.

    Attributes:
        status: HTTP status it came with or stands for.
        message: The provider's words.
        kind: Family in OpenAI's vocabulary (`invalid_request_error`, `rate_limit_error`, …).
        code: The provider's code, empty when it gave none.
        param: Field at fault, in the provider's terms.
    """

    status: int
    message: str
    kind: str = "api_error"
    code: str = ""
    param: str | None = None


# --- stream ---------------------------------------------------------------------------------
# Parts are not announced: a delta of another kind than the one before it begins a part, and
# `PartEnd` ends the one at hand where the dialect says so. `choice` numbers the alternatives.


class Start(msgspec.Struct):
    """First event of every stream; comes once. `usage` is what is known of the input by then."""

    id: str = ""
    model: str = ""
    created_s: int = 0
    usage: Usage | None = None


class TextDelta(msgspec.Struct):
    """A piece of text; `logprobs` is OpenAI's JSON for it."""

    text: str
    choice: int = 0
    logprobs: bytes | None = None


class ThinkingDelta(msgspec.Struct):
    """A piece of readable reasoning."""

    text: str
    choice: int = 0


class SignatureDelta(msgspec.Struct):
    """The signature of the thinking part at hand, or a whole redacted part of its own."""

    signature: str = ""
    redacted: str | None = None
    choice: int = 0
    origin: str = ""


class ToolStart(msgspec.Struct):
    """A tool call begins. `call` numbers the calls of a choice from 0, in order of appearance."""

    call: int
    id: str
    name: str
    choice: int = 0
    custom: bool = False
    signature: str = ""


class ToolDelta(msgspec.Struct):
    """A piece of the arguments of call number `call`."""

    call: int
    arguments: str
    choice: int = 0


class PartEnd(msgspec.Struct):
    """The part at hand is complete."""

    choice: int = 0


class CitationDelta(msgspec.Struct):
    """A citation of the text part at hand."""

    citation: Citation
    choice: int = 0


class RefusalDelta(msgspec.Struct):
    """A piece of the model's refusal."""

    text: str
    choice: int = 0


class OpaqueDelta(msgspec.Struct):
    """A whole part that only one dialect knows."""

    part: OpaquePart
    choice: int = 0


class UsageEvent(msgspec.Struct):
    """Usage so far; a later one replaces an earlier one."""

    usage: Usage


class Finish(msgspec.Struct):
    """Why a choice ended; nothing of it comes later."""

    reason: FinishReason
    stop_sequence: str | None = None
    choice: int = 0


class StreamError(msgspec.Struct):
    """The stream failed; always the last event.

    Attributes:
        broken: The upstream told no error: its stream cannot be read or stopped in the middle.
    """

    error: WireError
    broken: bool = False


Event: TypeAlias = (
    Start
    | TextDelta
    | ThinkingDelta
    | SignatureDelta
    | ToolStart
    | ToolDelta
    | PartEnd
    | CitationDelta
    | RefusalDelta
    | OpaqueDelta
    | UsageEvent
    | Finish
    | StreamError
)
