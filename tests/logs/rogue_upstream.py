"""A provider that puts secrets wherever it can write: statuses, headers, bodies, broken bytes."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType

#: Path ending → what is answered; `{}` takes a secret.
ANSWERS = {
    "error-body": (
        "HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\nx-debug: {0}-a\r\n"
        "content-length: {1}\r\n\r\n",
        '{{"error":{{"message":"key {0}-b is bad","code":"{0}-c"}}}}',
    ),
    "unauthorized": (
        "HTTP/1.1 401 {0}-d\r\nwww-authenticate: Bearer realm={0}-e\r\ncontent-length: {1}\r\n\r\n",
        '{{"error":{{"message":"Incorrect API key provided: {0}-f"}}}}',
    ),
    "redirect": (
        "HTTP/1.1 302 Found\r\nlocation: https://user:{0}-g@h.example/?key={0}-h\r\n"
        "content-length: {1}\r\n\r\n",
        "{0}-i",
    ),
    "no-http": ("{0}-j is no HTTP\r\n\r\n{1}", "{0}-k"),
    "bad-header": ("HTTP/1.1 200 OK\r\nx y: {0}-l\r\ncontent-length: {1}\r\n\r\n", "{0}-m"),
    "not-json": (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {1}\r\n\r\n",
        "{0}-n is no JSON",
    ),
    "error-event": (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {1}\r\n\r\n",
        'data: {{"error":{{"message":"{0}-o","code":"{0}-p"}}}}\n\n',
    ),
    "cut": (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9{1}\r\n\r\n",
        '{{"id":"{0}-q","choices":[',
    ),
    "model-echo": (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {1}\r\n"
        "set-cookie: s={0}-r\r\nx-ratelimit-remaining-requests: {0}-s\r\n\r\n",
        '{{"id":"sk-{0}-t","model":"sk-{0}-u","choices":[{{"index":0,"finish_reason":"stop",'
        '"message":{{"role":"assistant","content":"{0}-v"}}}}],'
        '"usage":{{"prompt_tokens":1,"completion_tokens":1}}}}',
    ),
}


class RogueUpstream:
    """Runs in threads; use as a context manager.

    Args:
        secret: What every secret that it writes begins with.

    Attributes:
        url: Base URL.
        requests: Bytes of each request, as received.
    """

    def __init__(self, secret: str) -> None:
        upstream = self
        self.requests: list[bytes] = []

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = self.request.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += self.request.recv(65536)
                upstream.requests.append(head + body)
                for name, (start, rest) in ANSWERS.items():
                    if f'"{name}"'.encode() in body:
                        text = rest.format(secret)
                        self.request.sendall((start.format(secret, len(text)) + text).encode())
                        return
                self.request.sendall(b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n{}")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> RogueUpstream:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
