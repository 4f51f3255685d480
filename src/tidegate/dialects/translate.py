"""One stream from a target's dialect into the caller's, for the relay."""

from __future__ import annotations

import msgspec

from tidegate.dialects.arguments import ArgumentPieces
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import (
    Event,
    Finish,
    NeutralAnswer,
    NeutralRequest,
    Start,
    StreamError,
    Tool,
    ToolDelta,
    ToolStart,
    ToolUse,
    WireError,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import StreamDecoder, StreamEncoder


class StreamTranslation:
    """Takes a target's bytes and gives the caller's.

    Attributes:
        started: At least one event of an answer was seen.
        error: The upstream's error, or what made its stream unreadable; nothing follows it.
    """

    __slots__ = ("_custom", "_decoder", "_encoder", "error", "started")

    def __init__(
        self,
        decoder: StreamDecoder,
        encoder: StreamEncoder,
        custom_tools: frozenset[str] = frozenset(),
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._custom = CustomCalls(custom_tools) if custom_tools else None
        self.started = False
        self.error: WireError | None = None

    @property
    def usage(self) -> Usage | None:
        """Newest usage told."""
        return self._decoder.usage

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return self._decoder.finished

    @property
    def done(self) -> bool:
        """Whether nothing that follows counts."""
        return self._decoder.done

    @property
    def failed(self) -> bool:
        """Whether an error event was written, or has to be the last thing written."""
        return self.error is not None or self._encoder.failed

    @property
    def losses(self) -> list[Loss]:
        """What the caller's dialect could not express so far."""
        return self._encoder.losses

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what the caller may have of it now.

        An error before anything else gives no bytes, so that another attempt may follow; see
        `started` and `error`.
        """
        return self._write(self._decoder.feed(data))

    def end(self) -> bytes:
        """Take the end of the target's body, as `feed` does."""
        return self._write(self._decoder.end())

    def terminator(self) -> bytes:
        """Return what ends a whole stream; an error event if the answer turns out to be unfit."""
        return self._encoder.end()

    def _write(self, events: list[Event]) -> bytes:
        if not events:
            return b""
        last = events[-1]
        if type(last) is StreamError:
            self.error = last.error
            if not self.started and all(type(event) is Start for event in events[:-1]):
                return b""
        if self._custom is not None:
            events = self._custom.unwrap(events)
        if not self.started:
            self.started = any(type(event) is not Start for event in events)
        return self._encoder.feed(events)


# --- custom tools ---------------------------------------------------------------------------
# A tool that takes free text goes to most targets as a function with one field, `input`; what
# comes back is that function's JSON, and the caller waits for text.


class _Input(msgspec.Struct):
    input: str


_decode_input = msgspec.json.Decoder(_Input).decode


def custom_tools(request: NeutralRequest) -> frozenset[str]:
    """Return the names of the tools that take free text."""
    return frozenset(
        tool.name
        for tool in request.tools
        if isinstance(tool, Tool) and tool.custom_format is not None
    )


def unwrap_answer(answer: NeutralAnswer, names: frozenset[str]) -> None:
    """Turn calls of *names* in a whole answer back into free text, in place."""
    for choice in answer.choices:
        for part in choice.parts:
            if isinstance(part, ToolUse) and part.name in names and not part.custom:
                part.custom = True
                part.arguments = input_of(part.arguments)


def input_of(arguments: str) -> str:
    """Return the free text out of a wrapped call; the arguments as they are if it is none."""
    try:
        return _decode_input(arguments).input
    except UNREADABLE:
        return arguments


class CustomCalls:
    """Turns calls of custom tools in a stream back into free text, each in one piece."""

    __slots__ = ("_held", "_names")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._held: dict[tuple[int, int], ArgumentPieces] = {}

    def unwrap(self, events: list[Event]) -> list[Event]:
        """Return *events* with the arguments of custom calls as text, once they are whole."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, ToolStart):
                if event.name in self._names and not event.custom:
                    event.custom = True
                    self._held[event.choice, event.call] = ArgumentPieces()
            elif isinstance(event, ToolDelta) and (event.choice, event.call) in self._held:
                place = (event.choice, event.call)
                held = self._held[place]
                held.add(event.arguments)
                if event.arguments.strip() and held.is_whole():
                    self._held[place] = ArgumentPieces()
                    out.append(ToolDelta(event.call, input_of(held.text()), event.choice))
                continue
            elif isinstance(event, Finish):
                out.extend(self._leftovers(event.choice))
            out.append(event)
        return out

    def _leftovers(self, choice: int) -> list[Event]:
        """Return what never became whole, as it is."""
        left: list[Event] = [
            ToolDelta(call, held.text(), choice)
            for (of_choice, call), held in self._held.items()
            if of_choice == choice and held.text()
        ]
        self._held = {place: held for place, held in self._held.items() if place[0] != choice}
        return left
