"""All strict providers on one port, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from tests.fakes.strict.anthropic_messages import AnthropicMessages
from tests.fakes.strict.bedrock_converse import BedrockConverse
from tests.fakes.strict.cohere_chat import CohereChat
from tests.fakes.strict.gemini_generate import GeminiGenerate
from tests.fakes.strict.openai_chat import OpenAIChat
from tests.fakes.strict.openai_responses import OpenAIResponses
from tests.fakes.strict.scenarios import (
    BROKEN,
    REFUSAL,
    RETRY_AFTER_S,
    SLOW,
    TOO_MANY,
    reply_to,
)
from tests.fakes.strict.stream_errors import error_event
from tests.fakes.strict.wire import Asked, StrictWire, dumps

WIRES: tuple[StrictWire, ...] = (
    OpenAIChat(),
    OpenAIResponses(),
    AnthropicMessages(),
    GeminiGenerate(),
    BedrockConverse(),
    CohereChat(),
)

#: How long a slow stream waits for its client to go.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Received:
    """One request as it came, accepted or not."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class StrictUpstream:
    """Use as a context manager. A provider's API starts at `url/<name of its wire>`.

    Attributes:
        last: The newest request of each wire and model.
        refused: Why requests were refused: `(wire, problem)`, the tests' own scenarios apart.
        broken: Streams whose client went away, by wire.
    """

    def __init__(self) -> None:
        self.url = ""
        self.last: dict[tuple[str, str], Received] = {}
        self.refused: list[tuple[str, str]] = []
        self.broken: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StrictUpstream:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request_line, *lines = head.decode().split("\r\n")
                headers = {}
                for line in lines:
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                await self._answer(request_line.split()[1], headers, raw, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        target: str,
        headers: dict[str, str],
        raw: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        _, name, path = unquote(target).split("/", 2)
        body = json.loads(raw)
        wire = next(wire for wire in WIRES if wire.name == name)
        asked = wire.asked("/" + path, body)
        if asked is None:
            self._refuse(wire, writer, 404, f"no such path: /{path}")
            return
        self.last[name, asked.model] = Received(path, headers, body)
        refusal = wire.problem_of_headers(headers)
        if refusal is None:
            wrong = wire.problem(body, asked)
            refusal = None if wrong is None else (400, wrong)
        if refusal is not None:
            self._refuse(wire, writer, *refusal)
        elif asked.model == "error":
            _send(writer, 400, *wire.error(400, REFUSAL))
        elif asked.model == "limited":
            lines, error = wire.error(429, TOO_MANY)
            _send(writer, 429, {**lines, "retry-after": str(RETRY_AFTER_S)}, error)
        elif asked.stream:
            await self._stream(wire, body, asked, reader, writer)
        else:
            _send(writer, 200, {}, wire.whole(reply_to(asked.model, dumps(body)), asked))

    def _refuse(
        self, wire: StrictWire, writer: asyncio.StreamWriter, status: int, message: str
    ) -> None:
        self.refused.append((wire.name, message))
        _send(writer, status, *wire.error(status, message))

    async def _stream(
        self,
        wire: StrictWire,
        body: dict[str, Any],
        asked: Asked,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: {wire.stream_type}\r\n"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        events = wire.head(asked)
        if asked.model == "slow":
            await _go_on_until_gone([*events, *wire.content(SLOW)], reader, writer)
            self.broken[wire.name] += 1
            raise ConnectionError
        if asked.model == "first":
            events = [error_event(wire.name, BROKEN)]
        else:
            reply = reply_to(asked.model, dumps(body))
            events += wire.content(reply)
            is_whole = asked.model != "amid"
            events += wire.tail(reply, body) if is_whole else [error_event(wire.name, BROKEN)]
        for event in events:
            _chunk(writer, event)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _go_on_until_gone(
    events: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Write *events* one by one until the other side closes, and wait for that."""
    gone = asyncio.ensure_future(reader.read(1))
    try:
        for event in events:
            _chunk(writer, event)
            done, _ = await asyncio.wait([gone], timeout=0.01)
            if done:
                return
        await asyncio.wait([gone], timeout=_PATIENCE_S)
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _send(
    writer: asyncio.StreamWriter, status: int, lines: dict[str, str], body: dict[str, Any]
) -> None:
    data = dumps(body).encode()
    head = {"content-type": "application/json", **lines, "content-length": str(len(data))}
    text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + data)
