"""The demo model: an upstream inside the process, offline and deterministic.

It stands where an HTTP client to a provider would stand, so a request to it takes the same
way through the gateway as any other. It says plainly that it is a demo. The same request
always brings the same answer; its tokens are words.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tidegate.upstream.answer import UpstreamFault

MODEL = "demo"
#: Seconds between two pieces of a stream: slow enough to be seen, quick enough to wait for.
PIECE_S = 0.02
EMBEDDING_SIZE = 256

_INTRODUCTION = (
    "This is Tidegate's built-in demo model; no provider was asked and nothing left this machine."
)
_PIECE = re.compile(r"\s*\S+")
_encode = msgspec.json.Encoder().encode


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _ChatRequest(msgspec.Struct):
    messages: list[_Message]
    stream: bool | None = False
    stream_options: _Options | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _CompletionRequest(msgspec.Struct):
    prompt: str | list[str] = ""
    stream: bool | None = False
    stream_options: _Options | None = None
    max_tokens: int | None = None


class _EmbeddingRequest(msgspec.Struct):
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


class DemoAnswer:
    """An answer of the demo model (see `upstream.answer.UpstreamAnswer`)."""

    framing: Literal["length", "chunked", "close", "none"] = "length"

    def __init__(
        self, status: int, body: bytes, pieces: list[bytes] | None = None, deadline: float = 0.0
    ) -> None:
        self.status = status
        self.headers = {
            b"content-type": b"application/json" if pieces is None else b"text/event-stream"
        }
        self._body = body
        self._pieces = pieces or []
        self._deadline = deadline
        self._go = asyncio.Event()
        self._go.set()
        self._cancelled = False

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        return self._body or b"".join(self._pieces)

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Hand out the events one by one, as a model that thinks would."""
        loop = asyncio.get_running_loop()
        for piece in self._pieces:
            await self._go.wait()
            if self._cancelled:
                return
            if loop.time() >= self._deadline:
                raise UpstreamFault("total", "deadline passed", sent=True, answered=True)
            sink(piece)
            await asyncio.sleep(PIECE_S)

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._go.clear()

    def resume(self) -> None:
        """Go on."""
        self._go.set()

    def cancel(self) -> None:
        """Stop handing out."""
        self._cancelled = True
        self._go.set()


class DemoUpstream:
    """Answers requests from within (see `upstream.answer.UpstreamClient`)."""

    async def send(
        self, head: bytes, body: bytes, *, deadline: float, first_byte_s: float | None = None
    ) -> DemoAnswer:
        """Answer one request by the last part of its path."""
        path = head.split(b" ", 2)[1]
        try:
            if path.endswith(b"/chat/completions"):
                return _chat(body, deadline)
            if path.endswith(b"/completions"):
                return _completion(body, deadline)
            return _embeddings(body)
        except msgspec.DecodeError as error:
            return DemoAnswer(400, _error(f"The demo model cannot read this request: {error}"))

    def close(self) -> None:
        """Nothing is held open."""


def _error(message: str) -> bytes:
    return _encode(
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_request",
            }
        }
    )


def _text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _say(asked: str, max_tokens: int | None) -> tuple[list[str], str]:
    """Return the answer in pieces, and why it finished."""
    shown = asked.strip()
    if len(shown) > 400:
        shown = shown[:400] + "…"
    text = f"{_INTRODUCTION} You said: {shown}" if shown else _INTRODUCTION
    pieces = _PIECE.findall(text)
    if max_tokens is not None and 0 < max_tokens < len(pieces):
        return pieces[:max_tokens], "length"
    return pieces, "stop"


def _usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }


def _identity(kind: str, body: bytes) -> str:
    return f"{kind}-demo-{hashlib.blake2b(body, digest_size=12).hexdigest()}"


def _event(payload: object) -> bytes:
    return b"data: " + _encode(payload) + b"\n\n"


def _chat(body: bytes, deadline: float) -> DemoAnswer:
    request = msgspec.json.decode(body, type=_ChatRequest)
    if not request.messages:
        return DemoAnswer(400, _error("'messages' must hold at least one message."))
    asked = next((_text_of(m.content) for m in reversed(request.messages) if m.role == "user"), "")
    pieces, reason = _say(asked, request.max_completion_tokens or request.max_tokens)
    words = sum(len(_text_of(message.content).split()) for message in request.messages)
    usage = _usage(words, len(pieces))
    common = {"id": _identity("chatcmpl", body), "created": 0, "model": MODEL}
    if not request.stream:
        message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return DemoAnswer(
            200,
            _encode({**common, "object": "chat.completion", "choices": [choice], "usage": usage}),
        )
    chunk = {**common, "object": "chat.completion.chunk"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**chunk, "choices": [choice]})

    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": piece}) for piece in pieces]
    events.append(event({}, reason))
    if request.stream_options and request.stream_options.include_usage:
        events.append(_event({**chunk, "choices": [], "usage": usage}))
    events.append(b"data: [DONE]\n\n")
    return DemoAnswer(200, b"", events, deadline)


def _completion(body: bytes, deadline: float) -> DemoAnswer:
    request = msgspec.json.decode(body, type=_CompletionRequest)
    asked = request.prompt if isinstance(request.prompt, str) else " ".join(request.prompt)
    pieces, reason = _say(asked, request.max_tokens)
    usage = _usage(len(asked.split()), len(pieces))
    common = {
        "id": _identity("cmpl", body),
        "object": "text_completion",
        "created": 0,
        "model": MODEL,
    }

    def choice(text: str, finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

    if not request.stream:
        whole = {**common, "choices": [choice("".join(pieces), reason)], "usage": usage}
        return DemoAnswer(200, _encode(whole))
    events = [_event({**common, "choices": [choice(piece, None)]}) for piece in pieces]
    events.append(_event({**common, "choices": [choice("", reason)]}))
    if request.stream_options and request.stream_options.include_usage:
        events.append(_event({**common, "choices": [], "usage": usage}))
    events.append(b"data: [DONE]\n\n")
    return DemoAnswer(200, b"", events, deadline)


def _embeddings(body: bytes) -> DemoAnswer:
    request = msgspec.json.decode(body, type=_EmbeddingRequest)
    texts = [request.input] if isinstance(request.input, str) else request.input
    size = request.dimensions or EMBEDDING_SIZE
    if not 1 <= size <= 4096:
        return DemoAnswer(400, _error("'dimensions' must be between 1 and 4096."))
    data = []
    for index, text in enumerate(texts):
        vector = _vector(text, size)
        shown: Any = vector
        if request.encoding_format == "base64":
            shown = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    words = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return DemoAnswer(
        200, _encode({"object": "list", "data": data, "model": MODEL, "usage": usage})
    )


def _vector(text: str, size: int) -> list[float]:
    """Return a unit vector in which texts that share words lie near each other."""
    vector = [0.0] * size
    for word in text.lower().split() or [""]:
        digest = hashlib.blake2b(word.encode(), digest_size=64).digest()
        for offset in range(0, 64, 4):
            (number,) = struct.unpack_from("<I", digest, offset)
            vector[number % size] += 1.0 if number & 0x8000_0000 else -1.0
    length = sum(value * value for value in vector) ** 0.5 or 1.0
    return [value / length for value in vector]
