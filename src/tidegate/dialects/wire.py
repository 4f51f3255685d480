"""What a dialect implements so that any front can be answered by any back.

A front uses `decode_request`, `encode_answer`, `stream_encoder` and its `dialect` (errors and
limit headers); a back uses `encode_request`, `decode_answer`, `stream_decoder`, `decode_error`.
All of it is pure: no socket, no clock, no randomness; ids and times are handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import msgspec

from tidegate.dialects.dialect import Dialect
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import Event, NeutralAnswer, NeutralRequest, WireError
from tidegate.dialects.usage import Usage

MAX_EVENT_BYTES = 64 * 1024 * 1024


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """What is particular about a target, as data. A field that a dialect has no use for is ignored.

    Attributes:
        unsupported: Features (members of `fidelity.FEATURES`) that the target refuses; they are
            left out and named.
        pass_fields: Top-level fields that the target takes under the caller's own name.
        max_output_tokens: Most tokens that the target takes as a limit; larger ones are cut.
        default_max_output_tokens: For dialects in which a limit must be given.
        max_tokens_field: Chat: which of the two names of the limit the target knows.
        system_role: Chat: the role of instructions, `system` or `developer`.
        thinking: How the target is told to think: `effort` (levels), `budget` (tokens) or `none`.
        reasoning_field: Chat: message field in which earlier thinking goes back; empty for none.
        cache_marker_field: Chat: part field of a cache marker (`prompt_cache_breakpoint`,
            `cache_control`); empty for none.
        system_turns: Anthropic: system turns amid the conversation are taken.
        version: Anthropic: the `anthropic-version` that the body is written for.
        stream_usage: Chat: `stream_options.include_usage` is understood.
        keeps_responses: Responses: the provider keeps what it answered, as the API promises.
    """

    unsupported: frozenset[str] = frozenset()
    pass_fields: frozenset[str] = frozenset()
    max_output_tokens: int | None = None
    default_max_output_tokens: int = 8192
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    system_role: Literal["system", "developer"] = "system"
    thinking: Literal["effort", "budget", "none"] = "effort"
    reasoning_field: str = ""
    cache_marker_field: str = ""
    system_turns: bool = False
    version: str = "2023-06-01"
    stream_usage: bool = True
    keeps_responses: bool = False


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer needs that the upstream may not have told.

    Attributes:
        id: Unique part of the answer's id, without a prefix, for upstreams that give none.
        created_s: Unix time.
        model: The name that the caller asked for; it is told that one.
        include_usage: Chat: whether the caller asked for the usage event of a stream.
        legacy_functions: Chat: see `NeutralRequest.legacy_functions`.
        origin: Dialect of the target, by which thinking that it did not sign is known again.
    """

    id: str
    created_s: int
    model: str
    include_usage: bool = True
    legacy_functions: bool = False
    origin: str = ""


class UnreadableAnswer(Exception):
    """An upstream's whole answer that is none in its dialect; the message says what is wrong."""


class StreamDecoder(Protocol):
    """Reads an upstream's stream, cut at any byte."""

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing that follows counts: the terminator or an error was seen."""
        ...

    @property
    def usage(self) -> Usage | None:
        """Newest usage told; None until then."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read; return the events it completes.

        Never raises: what cannot be understood (no JSON, no UTF-8, an event over the cap) ends
        the stream in a `StreamError`. `Start` comes before anything but `StreamError`.
        """
        ...

    def end(self) -> list[Event]:
        """Take the end of the body; an unfinished stream gives a `StreamError` (status 502)."""
        ...


class StreamEncoder(Protocol):
    """Writes the caller's stream."""

    @property
    def losses(self) -> list[Loss]:
        """What could not be expressed so far."""
        ...

    @property
    def failed(self) -> bool:
        """Whether an error event was written; nothing may follow it."""
        ...

    def feed(self, events: Iterable[Event]) -> bytes:
        """Return the bytes of *events*; what only makes sense at the end is held back."""
        ...

    def end(self) -> bytes:
        """Return what ends a whole stream, terminator included; empty after an error."""
        ...


class Back(Protocol):
    """One wire format as a target speaks it."""

    @property
    def name(self) -> str:
        """Stable name, such as `anthropic`; a metric label."""
        ...

    def encode_request(
        self, request: NeutralRequest, model: str, quirks: Quirks
    ) -> tuple[bytes, list[Loss]]:
        """Write *request* for *model*, the target's name of it, and name what was lost.

        Raises `BadRequest` where leaving something out would change what is asked (a turn with
        nothing left in it).
        """
        ...

    def decode_answer(self, body: bytes) -> NeutralAnswer:
        """Read a target's whole answer; raises `UnreadableAnswer`."""
        ...

    def decode_error(self, status: int, body: bytes) -> WireError:
        """Read a target's refusal; never raises: a body that is no error keeps the status only."""
        ...

    def stream_decoder(
        self, *, choices: int = 1, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> StreamDecoder:
        """Return a reader for one stream of *choices* alternatives."""
        ...


class Wire(Back, Protocol):
    """One wire format, both ways."""

    @property
    def dialect(self) -> Dialect:
        """Errors and limit headers."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Feature → path of the field that carries it, for `fidelity.path_of`."""
        ...

    def decode_request(self, body: bytes) -> NeutralRequest:
        """Read a caller's request; raises `BadRequest` whose `param` is the path at fault."""
        ...

    def encode_answer(
        self, answer: NeutralAnswer, context: AnswerContext
    ) -> tuple[bytes, list[Loss]]:
        """Write a whole answer for the caller; raises `UnreadableAnswer` where it cannot be."""
        ...

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder:
        """Return a writer for one stream."""
        ...
