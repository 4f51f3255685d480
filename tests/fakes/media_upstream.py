"""A provider of our own for images, audio, moderations, files and batches.

It refuses what the real one refuses: no key, a form that cannot be read, a missing field. Forms
are read with the standard library's mail parser, which shares no code with ours.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

KEY = "provider-secret-media"
SOUND = bytes(range(256)) * 4096
"""One megabyte that is no text."""


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Seen:
    """One request as it arrived."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path, _, self.query = path.partition("?")
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        if self.headers.get("content-type") != "application/json":
            raise Refused(415, "application/json is needed")
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise Refused(400, "an object is needed")
        return value

    @property
    def form(self) -> dict[str, list[bytes]]:
        """Fields by name; files as their content."""
        content_type = self.headers.get("content-type", "")
        if not content_type.startswith("multipart/form-data"):
            raise Refused(415, "multipart/form-data is needed")
        head = f"content-type: {content_type}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        fields: dict[str, list[bytes]] = {}
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            value = part.get_payload(decode=True)
            assert isinstance(name, str)
            assert isinstance(value, bytes)
            fields.setdefault(name, []).append(value)
        return fields


Answer = tuple[int, str, bytes]


def answer_of(payload: object, status: int = 200) -> Answer:
    """Return a JSON answer."""
    return status, "application/json", json.dumps(payload).encode()


class MediaUpstream:
    """Runs in threads of its own; use as a context manager.

    Attributes:
        url: Base URL, with `/v1`.
        seen: Requests so far.
        objects: Files and batches by id.
        contents: File id → content.
        pause: Set to let a slow answer go on.
        written: Bytes of an endless answer that went out so far.
        broken: Answers whose reader went away.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.objects: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.pause = threading.Event()
        self.written = 0
        self.broken = 0
        self._lock = threading.Lock()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                return

            def _serve(self) -> None:
                upstream.serve(self)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = _serve  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> MediaUpstream:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pause.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def last(self) -> Seen:
        """The newest request."""
        return self.seen[-1]

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(int(headers.get("content-length", "0")))
        seen = Seen(handler.command, handler.path, headers, body)
        with self._lock:
            self.seen.append(seen)
        try:
            if headers.get("authorization") != f"Bearer {KEY}":
                raise Refused(401, "Incorrect API key provided")
            with self._lock:
                answer = self._answer(seen)
        except Refused as refused:
            error = {"message": str(refused), "type": "invalid_request_error",
                     "param": None, "code": None}  # fmt: skip
            answer = answer_of({"error": error}, refused.status)
        status, kind, data = answer
        if kind.startswith("endless"):
            self._endless(handler)
            return
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("set-cookie", "account=secret")
        if kind == "audio/cut":
            handler.send_header("content-length", str(len(data) * 2))
        elif kind.startswith("text/event-stream"):
            handler.send_header("connection", "close")
        else:
            handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data)
        if kind in ("audio/cut", "text/event-stream"):
            handler.close_connection = True

    def _endless(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "audio/mpeg")
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            for _ in range(400):
                handler.wfile.write(SOUND[: 256 * 1024])
                self.written += 256 * 1024
        except OSError:
            self.broken += 1

    def _answer(self, seen: Seen) -> Answer:
        path = seen.path.removeprefix("/v1")
        route: Callable[[Seen], Answer] | None = {
            "/moderations": self._moderate,
            "/images/generations": self._draw,
            "/images/edits": self._edit,
            "/images/variations": self._edit,
            "/audio/speech": self._speak,
            "/audio/transcriptions": self._transcribe,
            "/audio/translations": self._transcribe,
        }.get(path)
        if route is not None:
            if seen.method != "POST":
                raise Refused(405, "method")
            return route(seen)
        if path.startswith("/files"):
            return self._files(seen, path)
        if path.startswith("/batches"):
            return self._batches(seen, path)
        if path.startswith("/vector_stores"):
            return self._vector_stores(seen, path)
        if path == "/cachedContents":
            return answer_of({"name": f"cachedContents/c{len(self.seen)}", "model": "models/x"})
        if path == "/fine_tuning/jobs":
            return answer_of(self._made("ftjob", training_file=seen.json["training_file"]))
        if path == "/echo":
            return answer_of({"method": seen.method, "query": seen.query,
                              "headers": seen.headers, "bytes": len(seen.body)})  # fmt: skip
        if path == "/conflict":
            raise Refused(409, "it is there already")
        if path == "/elsewhere":
            return 302, "text/html", b"moved"
        if path == "/endless":
            return 200, "endless", b""
        raise Refused(404, f"Invalid URL ({seen.method} {path})")

    def _moderate(self, seen: Seen) -> Answer:
        asked = seen.json
        if not asked.get("input") or not isinstance(asked.get("model"), str):
            raise Refused(400, "input and model are needed")
        names = ("harassment", "hate", "self-harm", "sexual", "violence")
        result = {
            "flagged": "hit" in asked["input"],
            "categories": dict.fromkeys(names, False),
            "category_scores": dict.fromkeys(names, 0.1),
            "category_applied_input_types": {name: ["text"] for name in names},
        }
        return answer_of({"id": "modr-1", "model": asked["model"], "results": [result]})

    def _draw(self, seen: Seen) -> Answer:
        asked = seen.json
        if not isinstance(asked.get("prompt"), str) or not isinstance(asked.get("model"), str):
            raise Refused(400, "prompt and model are needed")
        if asked.get("stream") is True:
            return _pictures(asked.get("n") or 1, "image_generation")
        return answer_of(_picture())

    def _edit(self, seen: Seen) -> Answer:
        form = seen.form
        if len(form.get("model", [])) != 1 or not (form.get("image") or form.get("image[]")):
            raise Refused(400, "image and model are needed")
        return answer_of(_picture())

    def _speak(self, seen: Seen) -> Answer:
        asked = seen.json
        if not all(isinstance(asked.get(name), str) for name in ("input", "model", "voice")):
            raise Refused(400, "input, model and voice are needed")
        if asked["model"] == "cuts":
            return 200, "audio/cut", SOUND
        if asked["model"] == "endless":
            return 200, "endless", b""
        if asked["model"] == "limited":
            raise Refused(429, "slow down")
        if asked.get("stream_format") == "sse":
            usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
            return _events({"type": "speech.audio.delta", "audio": "AAAA"},
                           {"type": "speech.audio.done", "usage": usage})  # fmt: skip
        return 200, "audio/mpeg", SOUND

    def _transcribe(self, seen: Seen) -> Answer:
        form = seen.form
        if len(form.get("model", [])) != 1 or len(form.get("file", [])) != 1:
            raise Refused(400, "file and model are needed")
        tokens = {"type": "tokens", "input_tokens": 20, "output_tokens": 7, "total_tokens": 27}
        if form.get("stream") == [b"true"]:
            return _events({"type": "transcript.text.delta", "delta": "he"},
                           {"type": "transcript.text.delta", "delta": "llo"},
                           {"type": "transcript.text.done", "text": "hello", "usage": tokens},
                           "[DONE]")  # fmt: skip
        if form.get("response_format") == [b"text"]:
            return 200, "text/plain; charset=utf-8", b"hello\n"
        if form["model"] == [b"whisper-1"]:
            return answer_of({"text": "hello", "usage": {"type": "duration", "seconds": 12.5}})
        return answer_of({"text": "hello", "usage": tokens})

    def _files(self, seen: Seen, path: str) -> Answer:
        if path == "/files" and seen.method == "POST":
            form = seen.form
            if len(form.get("file", [])) != 1 or len(form.get("purpose", [])) != 1:
                raise Refused(400, "file and purpose are needed")
            made = self._made("file", purpose=form["purpose"][0].decode(), status="processed",
                              filename="x", bytes=len(form["file"][0]))  # fmt: skip
            self.contents[made["id"]] = form["file"][0]
            return answer_of(made)
        if path == "/files":
            return answer_of(self._page(seen, "file", 10_000))
        name, _, rest = path.removeprefix("/files/").partition("/")
        found = self.objects.get(name)
        if found is None or found["object"] != "file":
            raise Refused(404, f"No such File object: {name}")
        if seen.method == "DELETE" and not rest:
            del self.objects[name]
            return answer_of({"id": name, "object": "file", "deleted": True})
        if seen.method != "GET":
            raise Refused(405, "method")
        if rest == "content":
            return 200, "application/octet-stream", self.contents[name]
        return answer_of(found)

    def _batches(self, seen: Seen, path: str) -> Answer:
        if path == "/batches" and seen.method == "POST":
            asked = seen.json
            source = asked.get("input_file_id")
            if source not in self.objects or asked.get("completion_window") != "24h":
                raise Refused(400, "input_file_id and completion_window are needed")
            made = self._made("batch", input_file_id=source, endpoint=asked["endpoint"],
                              completion_window="24h", status="validating")  # fmt: skip
            return answer_of(made)
        if path == "/batches":
            return answer_of(self._page(seen, "batch", 100))
        name, _, rest = path.removeprefix("/batches/").partition("/")
        found = self.objects.get(name)
        if found is None or found["object"] != "batch":
            raise Refused(404, f"No batch found with id '{name}'.")
        if rest == "cancel" and seen.method == "POST":
            found["status"] = "cancelling"
        elif found["status"] == "validating":
            output = self._made("file", purpose="batch_output", status="processed",
                                filename="out", bytes=4)  # fmt: skip
            self.contents[output["id"]] = b"done"
            found.update(status="completed", output_file_id=output["id"])
        return answer_of(found)

    def _vector_stores(self, seen: Seen, path: str) -> Answer:
        _, _, name = path.removeprefix("/").partition("/")
        if not name:
            if seen.method == "GET":
                return answer_of(self._page(seen, "vs", 100))
            return answer_of(self._made("vs", name=seen.json.get("name")))
        if name not in self.objects:
            raise Refused(404, "No vector store found")
        if seen.method == "DELETE":
            del self.objects[name]
            return answer_of({"id": name, "object": "vector_store.deleted", "deleted": True})
        return answer_of(self.objects[name])

    def _made(self, kind: str, **more: object) -> dict[str, Any]:
        made = {"id": f"{kind}-{len(self.objects) + 1:04d}", "object": kind,
                "created_at": len(self.objects), **more}  # fmt: skip
        self.objects[made["id"]] = made  # type: ignore[index]
        return made

    def _page(self, seen: Seen, kind: str, most: int) -> dict[str, Any]:
        query = dict(pair.split("=", 1) for pair in seen.query.split("&") if pair)
        if query.keys() - {"limit", "after", "order", "purpose"}:
            raise Refused(400, "unknown parameter")
        limit = int(query.get("limit", "20"))
        if not 1 <= limit <= most:
            raise Refused(400, "limit")
        found = [one for one in self.objects.values() if one["object"] == kind][::-1]
        if "after" in query:
            names = [one["id"] for one in found]
            found = found[names.index(query["after"]) + 1 :]
        page = found[:limit]
        return {"object": "list", "data": page, "has_more": len(found) > limit,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None}  # fmt: skip


def _picture() -> dict[str, Any]:
    details = {"image_tokens": 40, "text_tokens": 10}
    usage = {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210,
             "input_tokens_details": details}  # fmt: skip
    return {"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}], "usage": usage}


def _pictures(number: int, kind: str) -> Answer:
    usage = _picture()["usage"]
    events: list[object] = []
    for _ in range(number):
        events.append({"type": f"{kind}.partial_image", "b64_json": "AA==",
                       "partial_image_index": 0})  # fmt: skip
        events.append({"type": f"{kind}.completed", "b64_json": "AAA=", "usage": usage})
    return _events(*events)


def _events(*events: object) -> Answer:
    data = b"".join(
        b"data: " + (one if isinstance(one, str) else json.dumps(one)).encode() + b"\n\n"
        for one in events
    )
    return 200, "text/event-stream", data
