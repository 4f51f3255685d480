"""What a request asks of a model, and how its answer is read on its way through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidegate.dialects.anthropic.foreign import without_foreign as message_without_foreign
from tidegate.dialects.anthropic.usage import usage_of_answer as usage_of_message
from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.dialects.anthropic.wire import PASSING_SIGNS as MESSAGE_SIGNS
from tidegate.dialects.embeddings.gemini import GEMINI_BATCH_EMBEDDINGS, GEMINI_EMBEDDINGS
from tidegate.dialects.embeddings.neutral import EmbeddingFront
from tidegate.dialects.embeddings.openai import OPENAI_EMBEDDINGS
from tidegate.dialects.envelope import BASE64_SIGN, TEXT_SIGN
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.gemini.foreign import without_foreign as content_without_foreign
from tidegate.dialects.gemini.parts import usage_of_answer as usage_of_generate
from tidegate.dialects.gemini.wire import GENERATE
from tidegate.dialects.gemini.wire import PASSING_SIGNS as GENERATE_SIGNS
from tidegate.dialects.openai.media import SIGNS, MediaStreamDecoder, no_usage, usage_of_media
from tidegate.dialects.openai.stream import CompletionStream
from tidegate.dialects.openai.usage import usage_of_answer
from tidegate.dialects.openai.wire import CHAT
from tidegate.dialects.passing import PassingStream, Scanner
from tidegate.dialects.responses.foreign import without_foreign as response_without_foreign
from tidegate.dialects.responses.passing import ResponsesPassing
from tidegate.dialects.responses.usage import usage_of_answer as usage_of_response
from tidegate.dialects.responses.wire import RESPONSES_WIRE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Wire
from tidegate.pipeline.forward import OPENAI

if TYPE_CHECKING:
    from tidegate.pipeline.call import Call


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of request in one wire format.

    Attributes:
        name: As in `providers.operations`; targets that have it are sent the caller's bytes.
        usage_of: Whole answer → usage that it tells.
        scanner: Returns what stands between the two streams of a call.
        wire: By which targets that lack the operation can answer it all the same; None where
            nothing else can stand in for it.
        asks_usage: Whether a stream's usage has to be asked for (`stream_options`).
        forwards: Header names that go to targets that have the operation, beside the usual.
        default_lines: Header lines that such a request must have, by the name of the header.
        estimates: See `Call.estimates`.
        embeds: The same as `wire`, for embeddings.
        versions: Header that says for which version a request is written, and those that can be
            translated; a target that has the operation judges for itself.
        foreign: How the state of other providers stands in a body (see `dialects.envelope`), and
            what takes it out for a target that has the operation, and its model; None where
            nothing was.
    """

    name: str
    usage_of: Callable[[bytes], Usage | None]
    scanner: Callable[[Call], Scanner]
    wire: Wire | None = None
    asks_usage: bool = False
    forwards: frozenset[bytes] = frozenset()
    default_lines: tuple[tuple[bytes, bytes], ...] = ()
    estimates: Literal["tokens", "input", "none"] = "tokens"
    embeds: EmbeddingFront | None = None
    versions: tuple[bytes, frozenset[bytes]] | None = None
    foreign: tuple[bytes, Callable[[bytes, str], tuple[bytes, list[Loss]] | None]] | None = None


def _completion_stream(call: Call) -> Scanner:
    return CompletionStream(hide_usage=not call.wants_usage, choices=call.choices)


CHAT_COMPLETION = Operation(
    "openai", usage_of_answer, _completion_stream, wire=CHAT, asks_usage=True, forwards=OPENAI
)
TEXT_COMPLETION = Operation(
    "completions", usage_of_answer, _completion_stream, asks_usage=True, forwards=OPENAI
)


def _responses_stream(call: Call) -> Scanner:
    return ResponsesPassing()


RESPONSE = Operation(
    "responses",
    usage_of_response,
    _responses_stream,
    wire=RESPONSES_WIRE,
    forwards=OPENAI,
    foreign=(TEXT_SIGN, response_without_foreign),
)
RESPONSE_COMPACTION = Operation(
    "responses_compact", usage_of_response, _responses_stream, forwards=OPENAI
)
RESPONSE_COUNT = Operation(
    "responses_input_tokens",
    no_usage,
    _responses_stream,
    forwards=OPENAI,
    estimates="none",
    foreign=RESPONSE.foreign,
)
EMBEDDING = Operation(
    "embeddings",
    usage_of_answer,
    _completion_stream,
    forwards=OPENAI,
    estimates="input",
    embeds=OPENAI_EMBEDDINGS,
)


def _media_stream(call: Call) -> Scanner:
    return PassingStream(MediaStreamDecoder(call.choices), SIGNS)


def _media(
    name: str,
    usage_of: Callable[[bytes], Usage | None] = usage_of_media,
    *,
    estimates: Literal["input", "none"] = "none",
) -> Operation:
    return Operation(name, usage_of, _media_stream, forwards=OPENAI, estimates=estimates)


MODERATION = _media("moderations", no_usage)
IMAGE_GENERATION = _media("images_generations")
IMAGE_EDIT = _media("images_edits")
IMAGE_VARIATION = _media("images_variations")
SPEECH = _media("audio_speech", estimates="input")
TRANSCRIPTION = _media("audio_transcriptions")
TRANSLATION = _media("audio_translations")


FILES = _media("files", no_usage)
BATCHES = _media("batches", no_usage)
PASSTHROUGH = _media("passthrough", no_usage)


def _messages_stream(call: Call) -> Scanner:
    return PassingStream(MESSAGES.stream_decoder(), MESSAGE_SIGNS)


MESSAGE = Operation(
    "anthropic",
    usage_of_message,
    _messages_stream,
    wire=MESSAGES,
    forwards=frozenset({b"anthropic-version", b"anthropic-beta"}),
    default_lines=((b"anthropic-version", b"anthropic-version: 2023-06-01\r\n"),),
    versions=(b"anthropic-version", frozenset({b"2023-06-01", b"2026-10-21"})),
    foreign=(TEXT_SIGN, message_without_foreign),
)


def _generate_stream(call: Call) -> Scanner:
    return PassingStream(GENERATE.stream_decoder(choices=call.choices), GENERATE_SIGNS)


GENERATE_CONTENT = Operation(
    "gemini",
    usage_of_generate,
    _generate_stream,
    wire=GENERATE,
    foreign=(BASE64_SIGN, content_without_foreign),
)
GEMINI_COUNT = Operation(
    "gemini_count_tokens",
    no_usage,
    _generate_stream,
    estimates="none",
    foreign=GENERATE_CONTENT.foreign,
)
GEMINI_EMBED = Operation(
    "gemini_embed",
    usage_of_generate,
    _generate_stream,
    estimates="input",
    embeds=GEMINI_EMBEDDINGS,
)
GEMINI_BATCH_EMBED = Operation(
    "gemini_batch_embed",
    usage_of_generate,
    _generate_stream,
    estimates="input",
    embeds=GEMINI_BATCH_EMBEDDINGS,
)
MESSAGE_COUNT = Operation(
    "anthropic_count_tokens",
    no_usage,
    _messages_stream,
    forwards=MESSAGE.forwards,
    estimates="none",
    default_lines=MESSAGE.default_lines,
    foreign=MESSAGE.foreign,
)
