"""A target's chat completion stream as neutral events.

    data: {"id":…,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}
    data: {…,"choices":[{"index":0,"delta":{"content":"Hi"}}]}
    data: {…,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
    data: {…,"choices":[],"usage":{…}}
    data: [DONE]

Source: `ChatCompletionChunk` of the openai package, 3.x, read as widely as compatible servers
write it: no index on calls, one index for several, ids late, arguments as objects.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.answer_reader import unix_time
from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
from tidegate.dialects.neutral import (
    CitationDelta,
    Event,
    Finish,
    RefusalDelta,
    SignatureDelta,
    Start,
    StreamError,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UsageEvent,
)
from tidegate.dialects.openai.chat_answer import (
    ContentPart,
    CustomCall,
    ExtraContent,
    Function,
    arguments_text,
    error_of_object,
    finish_of,
    parts_of_content,
)
from tidegate.dialects.openai.chat_parts import (
    Detail,
    citation_of_annotation,
    thinking_of_details,
)
from tidegate.dialects.openai.usage import usage_of_json
from tidegate.dialects.sse_reader import SseReader

_NULL = msgspec.Raw(b"null")


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: CustomCall | None = None
    extra_content: ExtraContent | None = None


class _Delta(msgspec.Struct):
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: Function | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Detail] | None = None
    annotations: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _NULL


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    object: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class _CallState:
    """One tool call as far as it has come."""

    __slots__ = ("held", "id", "name", "number", "signature", "started")

    def __init__(self) -> None:
        self.number = -1  # given when it starts
        self.id = ""
        self.name = ""
        self.signature = ""
        self.started = False
        self.held = ""  # arguments that came before the name


class _ChoiceState:
    """What is known of one alternative."""

    __slots__ = ("by_index", "calls", "finished", "refused", "started", "thought")

    def __init__(self) -> None:
        self.by_index: dict[int, _CallState] = {}
        self.calls: list[_CallState] = []
        self.started = 0  # calls that have been told of
        self.finished = False
        self.refused = False
        self.thought: list[str] = []  # readable reasoning of the part at hand


class ChatStreamDecoder(EventDecoder[bytes]):
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = ("_answer_id", "_choices", "_started", "_states")

    def __init__(self, *, choices: int, max_event_bytes: int) -> None:
        super().__init__(SseReader(max_event_bytes))
        self._choices = choices
        self._states: dict[int, _ChoiceState] = {}
        self._started = False
        self._answer_id = ""

    @override
    def _take(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        if payload[:6] == b"[DONE]":
            self._terminate(events)
            return
        chunk = _decode_chunk(payload)
        if chunk.error != _NULL or head == b"error" or chunk.object == "error":
            raw = payload if chunk.error == _NULL else bytes(chunk.error)
            self.done = True
            events.append(StreamError(error_of_object(raw, 502)))
            return
        if chunk.choices:
            if not self._started:
                self._start(chunk, events)
            for choice in chunk.choices:
                self._take_choice(choice, events)
        if chunk.usage != _NULL:
            self._take_usage(chunk, events)

    def _start(self, chunk: _Chunk, events: list[Event]) -> None:
        self._started = True
        self._answer_id = chunk.id or ""
        events.append(Start(self._answer_id, chunk.model or "", unix_time(chunk.created)))

    def _take_usage(self, chunk: _Chunk, events: list[Event]) -> None:
        """Take a usage object; one that makes no sense counts as none."""
        usage = usage_of_json(chunk.usage)
        if usage is not None:
            if not self._started:
                self._start(chunk, events)
            self.usage = usage
            events.append(UsageEvent(usage))

    def _terminate(self, events: list[Event]) -> None:
        """Take `[DONE]`: choices that gave no reason have ended well all the same."""
        if not self._started:
            raise BrokenStream("The provider's stream held no answer.")
        for index in range(self._choices):
            self._states.setdefault(index, _ChoiceState())
        for index, state in self._states.items():
            if not state.finished:
                self._finish(index, state, None, events)
        self.done = True

    def _take_choice(self, choice: _Choice, events: list[Event]) -> None:
        index = choice.index
        state = self._states.get(index)
        if state is None:
            state = self._states[index] = _ChoiceState()
            self.finished = False
        delta = choice.delta
        if delta is not None and not state.finished:
            content = delta.content
            if content:
                if isinstance(content, str):
                    logprobs = None if choice.logprobs == _NULL else bytes(choice.logprobs)
                    events.append(TextDelta(content, index, logprobs))
                else:
                    self._take_parts(index, content, events)
                state.thought = []
            if (
                delta.tool_calls is not None
                or delta.reasoning_content is not None
                or delta.reasoning is not None
                or delta.reasoning_details is not None
                or delta.refusal is not None
                or delta.annotations is not None
                or delta.function_call is not None
            ):
                self._take_rare(index, state, delta, events)
        if choice.finish_reason is not None and not state.finished:
            self._finish(index, state, choice.finish_reason, events)

    def _take_parts(self, index: int, content: list[ContentPart], events: list[Event]) -> None:
        for part in parts_of_content(content):
            if isinstance(part, Thinking):
                events.append(ThinkingDelta(part.text, index))
            else:
                events.append(TextDelta(part.text, index))

    def _take_rare(
        self, index: int, state: _ChoiceState, delta: _Delta, events: list[Event]
    ) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            state.thought.append(thought)
            events.append(ThinkingDelta(thought, index))
        if delta.reasoning_details:
            self._take_details(index, state, delta, events)
        if delta.refusal:
            state.refused = True
            events.append(RefusalDelta(delta.refusal, index))
        events.extend(
            [CitationDelta(citation_of_annotation(raw), index) for raw in delta.annotations or ()]
        )
        for call in delta.tool_calls or ():
            self._take_call(index, state, call, events)
        if delta.function_call is not None:
            self._take_call(index, state, _Call(function=delta.function_call), events)

    def _take_details(
        self, index: int, state: _ChoiceState, delta: _Delta, events: list[Event]
    ) -> None:
        """Take reasoning items: text that came in another field is not taken twice."""
        told = bool(delta.reasoning_content or delta.reasoning)
        for part in thinking_of_details(delta.reasoning_details or ()):
            if part.redacted is not None:
                events.append(SignatureDelta("", part.redacted, index, part.origin))
                state.thought = []
                continue
            # With its proof, a part may come once more as a whole.
            again = part.signature and "".join(state.thought).endswith(part.text)
            if part.text and not told and not again:
                state.thought.append(part.text)
                events.append(ThinkingDelta(part.text, index))
            if part.signature:
                events.append(SignatureDelta(part.signature, None, index, part.origin))
                state.thought = []

    def _take_call(self, index: int, state: _ChoiceState, call: _Call, events: list[Event]) -> None:
        name, arguments, custom = None, "", call.custom is not None
        if call.custom is not None:
            name, arguments = call.custom.name, call.custom.input or ""
        elif call.function is not None:
            name = call.function.name
            arguments = arguments_text(call.function.arguments)
        known = self._call_of(state, call, name)
        if call.id:
            known.id = call.id
        if name and not known.started:
            known.name = name
        if call.extra_content is not None and call.extra_content.google is not None:
            known.signature = call.extra_content.google.thought_signature
        if not known.started:
            if not known.name:
                known.held += arguments
                return
            known.started = True
            known.number = state.started
            state.started += 1
            identifier = known.id or f"call_{self._answer_id[-12:]}_{index}_{known.number}"
            events.append(
                ToolStart(known.number, identifier, known.name, index, custom, known.signature)
            )
            arguments = known.held + arguments
        if arguments:
            events.append(ToolDelta(known.number, arguments, index))

    def _call_of(self, state: _ChoiceState, call: _Call, name: str | None) -> _CallState:
        """Return the call that a piece belongs to.

        A new id under an index that is taken is a new call: some servers number none of them,
        or all of them 0.
        """
        position = call.index
        if position is None:
            fresh = bool(call.id) and all(known.id != call.id for known in state.calls)
            if state.calls and not fresh and not (name and not call.id):
                return next(
                    (known for known in state.calls if call.id and known.id == call.id),
                    state.calls[-1],
                )
            position = len(state.calls)
        known = state.by_index.get(position)
        if known is None or (call.id and known.id and call.id != known.id and name):
            known = state.by_index[position] = _CallState()
            state.calls.append(known)
            state.thought = []
        return known

    def _finish(
        self, index: int, state: _ChoiceState, reason: str | None, events: list[Event]
    ) -> None:
        state.finished = True
        states = self._states
        self.finished = len(states) >= self._choices and all(s.finished for s in states.values())
        if any(not call.started for call in state.calls):
            raise BrokenStream(NAMELESS_CALL)
        finish = finish_of(reason, calls=bool(state.calls), refused=state.refused)
        events.append(Finish(finish, None, index))
