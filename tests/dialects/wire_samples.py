"""Rich neutral requests, and the check that a wire carries or names each thing they hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from tidegate.dialects import neutral as n
from tidegate.dialects.fidelity import FEATURES
from tidegate.dialects.wire import Quirks, Wire

_SCHEMA = b'{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":false}'


class _Names:
    """Gives words that occur once, so that each can be looked for in what comes out."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def word(self, stem: str) -> str:
        return f"{stem}<{next(self._numbers)}>"

    def identifier(self) -> str:
        return f"call_{next(self._numbers)}"


def _caches() -> st.SearchStrategy[n.CacheMarker | None]:
    return st.sampled_from([None, None, n.CacheMarker(), n.CacheMarker("1h"), n.CacheMarker("30m")])


@st.composite
def _media(draw: st.DrawFn, names: _Names) -> n.Image | n.Document:
    cache = draw(_caches())
    title = draw(st.sampled_from([None, "a.pdf"]))
    return draw(
        st.sampled_from(
            [
                n.Image(mime="image/png", data=names.word("AAAA"), cache=cache),
                n.Image(url=names.word("https://x/i.png"), detail="high", cache=cache),
                n.Image(file_id=names.word("file-i")),
                n.Document("application/pdf", names.word("JVBE"), title=title, cache=cache),
                n.Document("application/pdf", url=names.word("https://x/d.pdf")),
                n.Document("text/plain", text=names.word("plain"), title=names.word("t")),
                n.Document(file_id=names.word("file-d"), context=names.word("c"), cites=True),
            ]
        )
    )


@st.composite
def _user_turn(draw: st.DrawFn, names: _Names, open_calls: list[str]) -> n.Message:
    parts: list[n.Part] = []
    for call in open_calls:
        content: list[n.Text | n.Image | n.Document | n.OpaquePart] = [
            n.Text(names.word("result"), draw(_caches()))
        ]
        if draw(st.booleans()):
            content.append(n.Image(mime="image/png", data=names.word("BBBB")))
        parts.append(n.ToolResult(call, content, draw(st.booleans()), cache=draw(_caches())))
    parts.append(n.Text(names.word("question"), draw(_caches())))
    if draw(st.booleans()):
        parts.append(draw(_media(names)))
    if draw(st.integers(0, 4)) == 0:
        parts.append(n.Audio(names.word("UklG"), "wav"))
    if draw(st.integers(0, 4)) == 0:
        parts.append(n.OpaquePart("elsewhere", "thing", b'{"type":"thing"}'))
    return n.Message("user", parts, draw(st.sampled_from([None, None, "ann"])))


@st.composite
def _assistant_turn(draw: st.DrawFn, names: _Names, calls: list[str]) -> n.Message:
    parts: list[n.Part] = []
    thinking = draw(st.integers(0, 4))
    origin = draw(st.sampled_from(["anthropic", "gemini"]))
    if thinking == 1:
        parts.append(n.Thinking(names.word("thought"), names.word("sig=="), origin=origin))
    elif thinking == 2:
        parts.append(n.Thinking(redacted=names.word("enc=="), origin=origin))
    elif thinking == 3:
        parts.append(n.Thinking(names.word("thought")))
    citations = [n.Citation(url=names.word("https://c"), title="t", dialect="elsewhere", raw=b"{}")]
    parts.append(
        n.Text(names.word("answer"), draw(_caches()), citations if draw(st.booleans()) else [])
    )
    if draw(st.integers(0, 5)) == 0:
        parts.append(n.Refusal(names.word("no")))
    for _ in range(draw(st.integers(0, 2))):
        calls.append(names.identifier())
        arguments = draw(st.sampled_from(['{"a": 1.50}', '{"b":[ ]}', "not json", '{"a":1']))
        parts.append(n.ToolUse(calls[-1], "f", arguments, cache=draw(_caches())))
    return n.Message("assistant", parts)


def _maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), strategy)


@st.composite
def requests(draw: st.DrawFn) -> n.NeutralRequest:
    """A request that uses any of what the neutral form can say."""
    names = _Names()
    messages: list[n.Message] = []
    calls: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(draw(_user_turn(names, calls)))
        calls = []
        if draw(st.integers(0, 5)) == 0:
            messages.append(n.Message("system", [n.Text(names.word("aside"))]))
        messages.append(draw(_assistant_turn(names, calls)))
    messages.append(draw(_user_turn(names, calls)))
    tools: list[n.Tool | n.OpaqueTool] = [
        n.Tool("f", draw(_maybe(st.just("does f"))), _SCHEMA, draw(st.sampled_from([None, True])))
    ]
    if draw(st.booleans()):
        tools.append(n.Tool("g", schema=_SCHEMA, cache=n.CacheMarker()))
    if draw(st.booleans()):
        tools.append(n.OpaqueTool("elsewhere", "search", b'{"type":"search"}'))
    if draw(st.booleans()):
        tools.append(n.Tool("patch", "edits", custom_format=b"{}"))
    number = st.sampled_from([0.25, 0.5, 1.5])
    return n.NeutralRequest(
        "elsewhere",
        "m",
        messages,
        system=[n.Text(names.word("be kind"), draw(_caches()))],
        tools=tools,
        tool_choice=draw(
            st.sampled_from(
                [
                    None,
                    n.ToolChoice("auto"),
                    n.ToolChoice("none"),
                    n.ToolChoice("required"),
                    n.ToolChoice("tool", "f"),
                    n.ToolChoice("auto", allowed=["f"]),
                ]
            )
        ),
        parallel_tool_calls=draw(_maybe(st.booleans())),
        response_format=draw(
            st.sampled_from(
                [
                    None,
                    n.ResponseFormat("json"),
                    n.ResponseFormat("json_schema", "shape", "what", _SCHEMA, True),
                    n.ResponseFormat("json_schema", schema=_SCHEMA, strict=False),
                ]
            )
        ),
        stop=draw(st.sampled_from([[], ["END"], ["END", "\n"]])),
        max_output_tokens=draw(_maybe(st.sampled_from([100, 4096, 20000]))),
        temperature=draw(_maybe(number)),
        top_p=draw(_maybe(number)),
        top_k=draw(_maybe(st.just(40))),
        seed=draw(_maybe(st.just(7))),
        presence_penalty=draw(_maybe(number)),
        frequency_penalty=draw(_maybe(number)),
        n=draw(_maybe(st.sampled_from([1, 2]))),
        logprobs=draw(_maybe(st.booleans())),
        top_logprobs=draw(_maybe(st.just(3))),
        reasoning=draw(
            st.sampled_from(
                [
                    None,
                    n.Reasoning("off", "none"),
                    n.Reasoning(effort="minimal"),
                    n.Reasoning(effort="high"),
                    n.Reasoning("adaptive", display="omitted"),
                    n.Reasoning("budget", budget_tokens=3000),
                    n.Reasoning("budget", "low", 900000),
                    n.Reasoning("between_tools"),
                ]
            )
        ),
        user=draw(_maybe(st.just("user-1"))),
        metadata=draw(_maybe(st.just(b'{"k":"v"}'))),
        stream=draw(st.booleans()),
        cache_last=draw(_caches()),
        extra=draw(st.sampled_from([{}, {"logit_bias": b'{"1":2}'}])),
        unread=draw(st.sampled_from([[], ["messages[].content[].novelty"]])),
    )


QUIRKS = st.builds(
    Quirks,
    unsupported=st.frozensets(
        st.sampled_from(["image", "image.url", "tool.strict", "response_format", "cache_marker"]),
        max_size=2,
    ),
    max_output_tokens=st.sampled_from([None, 4000]),
    thinking=st.sampled_from(["effort", "budget", "none"]),
    reasoning_field=st.sampled_from(["", "reasoning_content", "reasoning_details"]),
    cache_marker_field=st.sampled_from(["", "prompt_cache_breakpoint", "cache_control"]),
    system_turns=st.booleans(),
    version=st.sampled_from(["2023-06-01", "2026-10-21"]),
    pass_fields=st.sampled_from([frozenset(), frozenset({"top_k", "logit_bias"})]),
)

Fact = tuple[str, object]


def facts(request: n.NeutralRequest) -> Iterator[Fact]:
    """Everything a request says, each with the feature that it belongs to."""
    for name in ("max_output_tokens", "temperature", "top_p", "top_k", "seed", "user", "metadata"):
        yield name, getattr(request, name)
    for name, default in (("presence_penalty", 0), ("frequency_penalty", 0), ("n", 1)):
        yield name, getattr(request, name) or default
    yield "logprobs", (request.logprobs or False, request.top_logprobs)
    if request.parallel_tool_calls is False:  # every dialect's default is to allow them
        yield "parallel_tool_calls", False
    for word in request.stop:
        yield "stop", word
    yield from _format_facts(request)
    yield from _tool_facts(request)
    reasoning = request.reasoning
    if reasoning is not None and reasoning.mode != "off":
        yield "reasoning", ("thinks", reasoning.mode == "between_tools")
        yield "reasoning", reasoning.effort
        yield "reasoning.budget", reasoning.budget_tokens
        yield "reasoning.display", reasoning.display
    for name in request.extra:
        yield "extra", name
    for path in request.unread:
        yield "unread", path
    last = request.messages[-1].parts[-1]
    if request.cache_last is not None or getattr(last, "cache", None) is not None:
        yield "cache_marker", "last"
    for message in [n.Message("system", list(request.system)), *request.messages]:
        yield "message.name", message.name
        for part in message.parts:
            yield from _part_facts(message.role, part)
    yield "system.position", [message.role for message in request.messages].count("system")


def _format_facts(request: n.NeutralRequest) -> Iterator[Fact]:
    wanted = request.response_format
    if wanted is not None:
        yield "response_format", (wanted.kind, wanted.schema)
        yield "response_format.name", wanted.name
        yield "response_format.description", wanted.description
        if wanted.strict is not None:
            yield "response_format.strict", wanted.strict


def _tool_facts(request: n.NeutralRequest) -> Iterator[Fact]:
    for tool in request.tools:
        if isinstance(tool, n.OpaqueTool):
            yield "tool.builtin", tool.kind
            continue
        feature = "tool" if tool.custom_format is None else "tool.custom"
        narrowed = request.tool_choice is not None and request.tool_choice.allowed is not None
        if narrowed and tool.name not in (request.tool_choice.allowed or ()):  # type: ignore[union-attr]
            feature = "tool_choice.allowed"
        yield feature, (tool.name, tool.schema, tool.custom_format)
        yield "tool.description", (tool.name, tool.description) if feature == "tool" else None
        yield "tool.strict", (tool.name, tool.strict) if tool.strict is not None else None
        if tool.cache is not None and feature == "tool":
            yield "cache_marker", tool.name
    choice = request.tool_choice
    if choice is not None:
        yield "tool_choice", (choice.mode, choice.name)
        yield "tool_choice.allowed", tuple(choice.allowed or ())


def _part_facts(role: str, part: n.Part) -> Iterator[Fact]:
    if isinstance(part, n.Text):
        yield "text", (role, part.text)
        yield from _cache_facts(part.cache, part.text)
        for citation in part.citations:
            yield "citations", citation.url
    elif isinstance(part, n.Image):
        place = _place(part)
        yield ("image.url" if part.url else "image.file_id" if part.file_id else "image"), place
        if part.detail is not None:
            yield "image.detail", (place, part.detail)
        yield from _cache_facts(part.cache, place)
    elif isinstance(part, n.Document):
        place = _place(part)
        kind = "document.url" if part.url else "document.file_id" if part.file_id else "document"
        yield kind, place
        yield "document.title", part.title and (place, part.title)
        yield "document.context", part.context and (place, part.context)
        yield "document.citations", part.cites and (place, part.cites)
        yield from _cache_facts(part.cache, place)
    elif isinstance(part, n.Audio):
        yield "audio", part.data
    elif isinstance(part, n.ToolUse):
        yield "tool_use", (part.id, part.name)
        yield "tool_use.arguments", part.arguments
        yield from _cache_facts(part.cache, part.id)
    elif isinstance(part, n.ToolResult):
        if part.is_error:
            yield "tool_result.is_error", part.tool_use_id
        yield "tool_use", ("result", part.tool_use_id)
        # A marker on the last part of a result and one on the result mean the same place.
        for marked in [part, *part.parts]:
            yield from _cache_facts(getattr(marked, "cache", None), part.tool_use_id)
        for inner in part.parts:
            for feature, value in _part_facts(role, inner):
                if "cache" not in feature:
                    yield feature, value
    elif isinstance(part, n.Thinking):
        yield "thinking", (part.text, part.signature, part.redacted, part.origin)
    elif isinstance(part, n.Refusal):
        yield "refusal", part.text
    else:
        yield "part", part.kind


def _place(part: n.Image | n.Document) -> str:
    place = part.url or part.data or part.file_id
    return place or part.text if isinstance(part, n.Document) else place


def _cache_facts(marker: n.CacheMarker | None, place: object) -> Iterator[Fact]:
    if marker is not None:
        yield "cache_marker", place
        if marker.ttl is not None:
            yield "cache_marker.ttl", (place, marker.ttl)


_MEDIA = ("image", "image.url", "image.file_id", "document", "document.url", "document.file_id")


def unnamed_losses(wire: Wire, request: n.NeutralRequest, quirks: Quirks) -> list[Fact]:
    """What *wire* loses of *request* without a word: nothing, ever."""
    body, losses = wire.encode_request(request, "target", quirks)
    named = {loss.feature for loss in losses}
    assert named <= FEATURES
    read = wire.decode_request(body)
    carried = list(facts(read))
    texts: dict[str, str] = {}
    for feature, value in carried:
        if feature == "text":
            role, text = value  # type: ignore[misc]
            texts[role] = texts.get(role, "") + text
    said = list(facts(request))
    # A part that is left out takes all with it that was said of it; the part is what is named.
    gone = {v for f, v in said if f in _MEDIA and (f, v) not in carried and _is_named(f, named)}
    last = request.messages[-1].parts[-1]
    if request.cache_last is None and isinstance(last, (n.Image, n.Document)):
        gone |= {"last"} if _place(last) in gone else set()
    missing = []
    for fact in said:
        feature, value = fact
        if value in (None, "", ()) or fact in carried:
            continue
        if (value[0] if isinstance(value, tuple) else value) in gone:
            continue
        if feature == "text":
            role, text = value  # type: ignore[misc]
            if text in texts.get(role, ""):
                continue
        if not _is_named(feature, named):
            missing.append(fact)
    return missing


def _is_named(feature: str, named: set[str]) -> bool:
    return feature in named or feature.split(".", 1)[0] in named
