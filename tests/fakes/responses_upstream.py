"""Providers of our own that speak the Responses and the Messages API, for clients of the former.

The Responses side keeps what it answered, unless the request says otherwise, and refuses what
it does not know: ids of responses, reasoning that it never wrote. Streams are OpenAI's, byte for
byte as the package's types document them.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

KEY = "provider-secret-2"
WORDS = ["one ", "two ", "three"]
TEXT = "".join(WORDS)
ENCRYPTED = "gAAAA-native-reasoning"
SIGNATURE = "sig/+=="
COUNTED = 4711


class ResponsesUpstream:
    """Runs in threads of its own; use as a context manager.

    Attributes:
        url: Base URL with `/v1`; the Messages API is at `root`.
        seen: `(method, path, body)` of all requests.
        kept: Responses by id.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.kept: dict[str, dict[str, Any]] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner._serve(self)

            def do_GET(self) -> None:
                owner._serve(self)

            def do_DELETE(self) -> None:
                owner._serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self.root}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> ResponsesUpstream:
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

    @property
    def last(self) -> dict[str, Any]:
        """Body of the last request."""
        return self.seen[-1][2]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", "0"))
        raw = request.rfile.read(length)
        body = json.loads(raw) if raw else {}
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.seen.append((request.command, request.path, body))
        if KEY not in (
            request.headers.get("authorization", "").removeprefix("Bearer "),
            request.headers.get("x-api-key", ""),
        ):
            _reply(request, 401, _error("no key"))
        elif request.path == "/v1/messages":
            _messages(request, body)
        elif request.path == "/v1/messages/count_tokens":
            _reply(request, 200, {"input_tokens": COUNTED})
        elif request.path == "/v1/responses/input_tokens":
            self._count(request, body)
        elif request.path == "/v1/responses/compact":
            self._compact(request, body)
        elif request.path == "/v1/responses":
            self._create(request, body)
        else:
            self._stored(request)

    def _create(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        previous = body.get("previous_response_id")
        if previous is not None and previous not in self.kept:
            _reply(request, 404, _error("previous response not found"))
            return
        for item in body["input"] if isinstance(body["input"], list) else []:
            if item.get("type") == "reasoning" and item.get("encrypted_content") != ENCRYPTED:
                _reply(request, 400, _error("invalid encrypted content"))
                return
        response = _response(body, f"resp_native{len(self.seen)}")
        if body.get("store", True):
            self.kept[response["id"]] = response
        if body.get("stream"):
            _stream(request, _events(response, cut=body["model"] == "cuts"))
        else:
            _reply(request, 200, response)

    def _compact(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        item = {"id": "cmp_1", "type": "compaction", "encrypted_content": ENCRYPTED}
        _reply(request, 200, {"id": "resp_cmp", "object": "response.compaction", "created_at": 1,
                              "output": [item], "usage": USAGE})  # fmt: skip

    def _count(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        previous = body.get("previous_response_id")
        if previous is not None and previous not in self.kept:
            _reply(request, 404, _error("previous response not found"))
            return
        tokens = COUNTED * (1 if previous is None else 2)
        _reply(request, 200, {"object": "response.input_tokens", "input_tokens": tokens})

    def _stored(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        identifier, _, part = path.removeprefix("/v1/responses/").partition("/")
        found = self.kept.get(identifier)
        if found is None:
            _reply(request, 404, _error("not found"))
        elif request.command == "DELETE":
            del self.kept[identifier]
            _reply(request, 200, {"id": identifier, "object": "response", "deleted": True})
        elif part == "input_items":
            item = {"id": "msg_1", "type": "message", "role": "user", "content": []}
            _reply(
                request,
                200,
                {"object": "list", "data": [item], "first_id": "msg_1", "last_id": "msg_1",
                 "has_more": False, "query": query},
            )  # fmt: skip
        else:
            _reply(request, 200, {**found, "status": "cancelled" if part else found["status"]})


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": None}}


def _reply(request: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def _stream(request: BaseHTTPRequestHandler, events: list[dict[str, Any]]) -> None:
    request.send_response(200)
    request.send_header("content-type", "text/event-stream")
    request.send_header("connection", "close")
    request.end_headers()
    for event in events:
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        request.wfile.write(data.encode())
        request.wfile.flush()
    request.close_connection = True


USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 14,
}


def _response(body: dict[str, Any], identifier: str) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_{identifier}", "type": "message", "role": "assistant",
        "status": "completed", "content": [text],
    }  # fmt: skip
    reasoning = {
        "id": f"rs_{identifier}", "type": "reasoning", "summary": [],
        "encrypted_content": ENCRYPTED,
    }  # fmt: skip
    return {
        "id": identifier, "object": "response", "created_at": 5, "status": "completed",
        "error": None, "incomplete_details": None, "model": body["model"],
        "output": [reasoning, message], "usage": USAGE, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "store": body.get("store", True),
        "previous_response_id": body.get("previous_response_id"),
    }  # fmt: skip


def _events(response: dict[str, Any], *, cut: bool) -> list[dict[str, Any]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    reasoning, message = response["output"]
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": message["id"], "output_index": 1, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1,
         "item": {**message, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": empty},
    ]  # fmt: skip
    events += [
        {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
        for word in WORDS
    ]
    if not cut:
        events += [
            {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
            {"type": "response.content_part.done", **place, "part": message["content"][0]},
            {"type": "response.output_item.done", "output_index": 1, "item": message},
            {"type": "response.completed", "response": response},
        ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _messages(request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Think, then call the first tool that the request has; refuse thinking that is not ours."""
    if body.get("thinking", {}).get("type") == "enabled" and body["messages"][-1]["role"] == "user":
        for turn in body["messages"]:
            for block in turn["content"] if isinstance(turn["content"], list) else []:
                if block["type"] == "thinking" and block["signature"] != SIGNATURE:
                    _reply(request, 400, {"type": "error", "error": {
                        "type": "invalid_request_error", "message": "bad signature"}})  # fmt: skip
                    return
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "hm"},
                {"type": "signature_delta", "signature": SIGNATURE},
            ],
        ),
        (
            {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": {}},
            [
                {"type": "input_json_delta", "partial_json": '{"command":'},
                {"type": "input_json_delta", "partial_json": ' ["ls"]}'},
            ],
        ),
    ]
    usage = {"input_tokens": 7, "output_tokens": 1}
    start = {"id": "msg_up", "type": "message", "role": "assistant", "model": body["model"],
             "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "usage": {"output_tokens": 6},
                   "delta": {"stop_reason": "tool_use", "stop_sequence": None}})  # fmt: skip
    events.append({"type": "message_stop"})
    _stream(request, events)
