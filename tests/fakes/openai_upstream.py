"""A provider of our own that speaks OpenAI's HTTP API and misbehaves when asked.

The behaviour is chosen by the model's name, so that a test says in its request what the
provider will do. It refuses what the real one refuses: no key, no messages, bad types.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import threading
from collections import Counter
from types import TracebackType
from typing import Any

KEY = "provider-secret-1"


class OpenAIUpstream:
    """Runs in a thread of its own; use as a context manager.

    Attributes:
        url: Base URL, with `/v1`.
        seen: Requests by model.
        last: Headers and body of the last request of each model.
        open_streams: Streams being written now.
        broken: Streams whose client went away.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seen: Counter[str] = Counter()
        self.last: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.open_streams = 0
        self.broken = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> OpenAIUpstream:
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
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request_line, *lines = head.decode().split("\r\n")
                headers = {}
                for line in lines:
                    if line:
                        name, _, value = line.partition(":")
                        headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if not await self._answer(request_line.split()[1], headers, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, path: str, headers: dict[str, str], raw: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        if headers.get("authorization") != f"Bearer {KEY}":
            return _reply(writer, 401, _error("Incorrect API key provided", "invalid_api_key"))
        body = json.loads(raw)
        model = body.get("model")
        self.seen[model] += 1
        self.last[model] = (headers, body)
        if path.endswith("/embeddings"):
            return _reply(writer, 200, _embeddings(body))
        if path.endswith("/chat/completions") and not body.get("messages"):
            return _reply(writer, 400, _error("'messages' is required", None))
        if model == "fails":
            return _reply(writer, 500, _error("boom", None))
        if model == "recovers" and self.seen[model] % 2:
            return _reply(writer, 500, _error("boom", None))
        if model == "limited":
            return _reply(writer, 429, _error("slow down", "rate_limit_exceeded"),
                          b"retry-after: 3\r\n")  # fmt: skip
        if model == "resets":
            writer.transport.abort()
            return False
        if body.get("stream"):
            return await self._stream(body, writer)
        return _reply(writer, 200, _whole(path, body))

    async def _stream(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        model = body["model"]
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\nopenai-processing-ms: 7\r\n\r\n"
        )
        pause_s = 0.05 if model == "slow" else 0.0
        self.open_streams += 1
        try:
            for event in _events(body):
                if model == "cuts" and b'"stop"' in event:
                    writer.transport.abort()
                    return False
                data = b"data: " + event + b"\n\n"
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                await writer.drain()
                if pause_s:
                    await asyncio.sleep(pause_s)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            self.broken += 1
            raise
        finally:
            self.open_streams -= 1
        return True


def _reply(
    writer: asyncio.StreamWriter, status: int, body: dict[str, Any], more: bytes = b""
) -> bool:
    data = json.dumps(body).encode()
    writer.write(
        b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b"
        % (status, more, len(data), data)
    )
    return True


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": code}}


USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
WORDS = ["one ", "two ", "three ", "four"]


def _whole(path: str, body: dict[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
        kind = "chat.completion"
        if body["model"] == "tools":
            call = {"name": "weather", "arguments": '{"city":"Oslo"}'}
            choice["message"] = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            }
            choice["finish_reason"] = "tool_calls"
    else:
        choice["text"] = "".join(WORDS)
        kind = "text_completion"
    return {
        "id": "up-1", "object": kind, "created": 1, "model": body["model"],
        "choices": [choice], "usage": USAGE,
    }  # fmt: skip


def _events(body: dict[str, Any]) -> list[bytes]:
    common = {
        "id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
    }  # fmt: skip
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    extra: dict[str, Any] = {"usage": None} if wants_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return json.dumps({**common, "choices": [choice], **extra}).encode()

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": word}) for word in WORDS * (40 if body["model"] == "slow" else 1)]
    events.append(chunk({}, "stop"))
    if wants_usage:
        events.append(json.dumps({**common, "choices": [], "usage": USAGE}).encode())
    if body["model"] != "forgets-done":
        events.append(b"[DONE]")
    return events


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = []
    for index, _ in enumerate(texts):
        vector = [float(index), 0.5, -1.25]
        shown: Any = vector
        if body.get("encoding_format") == "base64":
            shown = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}
