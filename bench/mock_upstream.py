"""An upstream that costs next to nothing: `python -m bench.mock_upstream PORT`.

It answers each POST with the same chat answer or the same stream, in Anthropic's dialect at
`/v1/messages` and else in OpenAI's. It parses no more of the request than where it ends, whether
it asks for a stream and for usage, and how fast.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop
from typing_extensions import override

from bench.payloads import answer_body, messages_answer, messages_events, stream_events

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SPACING_S = 0.005
# The first part of a body tells how it is to be answered; a picture of 1 MB is not searched.
_SEARCHED_BYTES = 65_536

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _whole(body: bytes) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
        b"openai-processing-ms: 12\r\ncontent-length: %d\r\n\r\n"
    )
    return head % len(body) + body


def _chunks(events: list[bytes]) -> list[bytes]:
    chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    chunks[0] = _STREAM_HEAD + chunks[0]
    chunks[-1] += b"0\r\n\r\n"
    return chunks


ANSWER = _whole(answer_body())
STREAM = _chunks(stream_events(include_usage=False))
STREAM_WITH_USAGE = _chunks(stream_events(include_usage=True))
MESSAGE = _whole(messages_answer())
MESSAGE_STREAM = _chunks(messages_events())


class MockUpstream(asyncio.Protocol):
    """One connection. Requests on it come one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._missing_bytes = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    @override
    def data_received(self, data: bytes) -> None:
        if self._missing_bytes:
            self._received.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes <= 0:
                self._answer(b"".join(self._received))
            return
        if self._received:
            data = b"".join((*self._received, data))
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._received = [data]
            return
        length = _LENGTH.search(data, 0, head_end)
        whole = head_end + 4 + (int(length[1]) if length else 0)
        if len(data) < whole:
            self._received = [data]
            self._missing_bytes = whole - len(data)
            return
        self._answer(data)

    def _answer(self, request: bytes) -> None:
        self._received = []
        self._missing_bytes = 0
        assert self._transport is not None
        begin = request[:_SEARCHED_BYTES]
        is_message = begin.startswith(b"POST /v1/messages")
        if b'"stream":true' not in begin and b'"stream": true' not in begin:
            self._transport.write(MESSAGE if is_message else ANSWER)
            return
        chunks = STREAM_WITH_USAGE if b'"include_usage":' in begin else STREAM
        if is_message:
            chunks = MESSAGE_STREAM
        self._send(chunks, 0, _SPACING_S if b"-spaced" in begin else 0.0)

    def _send(self, chunks: list[bytes], position: int, spacing_s: float) -> None:
        """Write one event in each round of the loop, so that each is a segment of its own."""
        if self._transport is None:
            return
        self._transport.write(chunks[position])
        if position + 1 == len(chunks):
            return
        if spacing_s:
            self._loop.call_later(spacing_s, self._send, chunks, position + 1, spacing_s)
        else:
            self._loop.call_soon(self._send, chunks, position + 1, 0.0)


async def serve(port: int) -> None:
    """Serve until the process is ended; print a line when the port accepts."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: MockUpstream(loop), "127.0.0.1", port, backlog=1024)
    print("mock upstream ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
