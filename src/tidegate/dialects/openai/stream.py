"""Relay of a completions event stream to a client of the same dialect.

Bytes go through as they came, event by whole event. The scanner looks for a few byte
patterns only; an event is decoded when one of them says that it may matter. Inside a
JSON string every quote is escaped, so a pattern such as `"usage":{` can only be structure.

    data: {"id":…,"object":"chat.completion.chunk","choices":[{"delta":{"content":"Hi"}}]}
    data: {…,"choices":[],"usage":{…}}          only when asked for
    data: [DONE]

Source: Chat Completions streaming, types `ChatCompletionChunk` of the openai package, 3.x.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tidegate.dialects.openai.usage import usage_of_json
from tidegate.dialects.passing import Holder, StreamBroken
from tidegate.dialects.sse import (
    BOM,
    event_data,
    event_name,
    first_boundary,
    is_json,
    last_boundary,
    split_events,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
_NULL_USAGE_END = b',"usage":null}\n'
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: msgspec.Raw = msgspec.Raw(b"null")


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class CompletionStream(Holder):
    """Scanner of one upstream stream.

    Attributes:
        usage: The provider's usage, once seen.
        finished: The upstream said of every choice why it finished, or sent `[DONE]`.
        done: `[DONE]` was seen; nothing after it is forwarded. It is not forwarded either: the
            caller writes `DONE` itself once everything is settled, so that a client that has
            seen it finds its request on the metrics page.
        error: The `error` object (JSON) of an error event, which is then the last event.
        started: At least one event that carries content was seen.
    """

    __slots__ = (
        "_choices",
        "_finished_choices",
        "_hide_usage",
        "_names_usage",
        "_signs",
        "done",
        "error",
        "finished",
        "started",
        "usage",
    )

    def __init__(
        self, *, hide_usage: bool, choices: int = 1, max_event_bytes: int = 64 * 1024 * 1024
    ) -> None:
        super().__init__(max_event_bytes)
        self._hide_usage = hide_usage
        self._choices = choices
        self._finished_choices: set[int] = set()
        #: How a reason and a usage object begin in this stream.
        self._signs: tuple[bytes, bytes] | None = None
        self._names_usage = False  # whether the read in hand has the word
        self.usage: Usage | None = None
        self.finished = False
        self.done = False
        self.error: bytes | None = None
        self.started = False

    @override
    def feed(self, data: bytes) -> bytes:
        """Take what was read from the upstream; return what the client may have of it now.

        Only whole events are returned, so that a cut never leaves half an event in front of
        our error event. Raises `StreamBroken`.
        """
        if self.done or self.error is not None:
            return b""
        held = self._held
        if held:
            if isinstance(held, bytearray):
                return self._go_on(held, data)
            data = held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            cut = last_boundary(data)
            rest = data[cut:]
            self._held = rest if len(rest) <= self._long_bytes else self._hold(data, cut)
            if cut == 0:
                return b""
            data = data[:cut]
        # One look for both: 3 µs in 8 KB, for which most streams are spared two more.
        self._names_usage = b'"usage"' in data
        out = self._scan(data)
        if self._hide_usage and self._names_usage:
            return out.replace(_NULL_USAGE_END, b"}\n")
        return out

    def terminator(self) -> bytes:
        """Return what ends a whole stream."""
        return DONE

    def _scan(self, data: bytes) -> bytes:
        """Return what of the whole events *data* the client may have; learn from those that matter.

        Many events come in one read. The first ones of a stream are looked into: spelling
        varies, and an error may be first. Later, only those from the first sign on.
        """
        if self.started:
            start = self._first_sign(data)
            if start < 0:
                return data
            # Looking for an end that is not there costs 4 µs in 8 KB: CR is rare, ask for it first.
            ends = _EVENT_ENDS if b"\r" in data else _EVENT_ENDS[:1]
            start = max([data.rfind(end, 0, start) + len(end) for end in ends])
            if start <= 3:  # no event ends before it
                return self._look_into(data)
            return data[:start] + self._look_into(data[start:])
        data = data.removeprefix(BOM)
        end = first_boundary(data)
        head = self._look_into(data[:end])
        while not self.started and not self.done and self.error is None and end < len(data):
            stop = end + first_boundary(data[end:])
            try:
                head += self._look_into(data[end:stop])
            except StreamBroken as broken:
                broken.whole = head
                raise
            end = stop
        if end < len(data) and not self.done and self.error is None:
            return head + self._scan(data[end:])
        return head

    def _first_sign(self, data: bytes) -> int:
        """Return where *data* first may be more than pieces of content; -1 for nowhere."""
        signs = self._signs
        if signs is None:
            return 0
        finish_sign, usage_sign = signs
        first = data.find(b"[DONE]")
        if (found := data.find(b'"error"')) >= 0 and (found < first or first < 0):
            first = found
        if (found := data.find(finish_sign)) >= 0 and (found < first or first < 0):
            first = found
        if self._names_usage:
            found = data.find(usage_sign)
            if found >= 0 and (found < first or first < 0):
                first = found
        return first

    def _learn_spelling(self, event: bytes) -> None:
        """Note how this upstream writes JSON; one that does it otherwise is always decoded."""
        if b'"choices":[' in event:
            self._signs = (b'"finish_reason":"', b'"usage":{')
        elif b'"choices": [' in event:
            self._signs = (b'"finish_reason": "', b'"usage": {')

    def _look_into(self, data: bytes) -> bytes:
        kept = []
        for event in split_events(data):
            if self._take(event):
                kept.append(event)
            if self.done or self.error is not None:
                break
        return b"".join(kept)

    def _take(self, event: bytes) -> bool:
        """Learn from one event; return whether the client is to have it."""
        payload = event_data(event)
        if payload is None:
            return True
        if payload.strip() == b"[DONE]":
            self.done = self.finished = True
            return False
        try:
            chunk = _decode_chunk(payload)
        except UNREADABLE:
            if not self.started and not is_json(payload):
                raise StreamBroken("The provider's stream begins with no JSON.") from None
            # Not ours to judge: the client gets what the upstream sent.
            self.started = True
            return True
        error = bytes(chunk.error)
        if error != b"null" or event_name(event) == b"error":
            self.error = error if error != b"null" else payload
            return True
        if not self.started:
            self.started = True
            self._learn_spelling(event)
        usage = bytes(chunk.usage)
        if usage != b"null":
            self.usage = usage_of_json(usage) or self.usage
        if not chunk.choices:
            # The usage event has no choices. Azure's first event has none either, but no usage.
            return not (self._hide_usage and usage != b"null")
        for choice in chunk.choices:
            if bytes(choice.finish_reason) != b"null":
                self._finished_choices.add(choice.index)
                self.finished = len(self._finished_choices) >= self._choices
        return True
