"""Providers of embeddings in three dialects, which refuse what the real ones refuse.

The path decides the dialect: `/v1/embeddings` is OpenAI's, `/v1beta/models/…` Gemini's and
`/v2/embed` Cohere's. A vector is `[length of the text, 0.5, -1.25]`, cut to the dimensions asked.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

KEY = "provider-secret-embeds"


class Refused(Exception):
    """An answer of status 400."""


class EmbeddingUpstream:
    """Runs in threads of its own; use as a context manager.

    Attributes:
        url: Where its paths begin.
        last: Path and body of the newest request.
        tells_usage: Whether Gemini's answers tell usage; the others always do.
    """

    def __init__(self) -> None:
        self.last: tuple[str, dict[str, Any]] = ("", {})
        self.tells_usage = False
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                return

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                status, payload = upstream.answer(self, json.loads(self.rfile.read(length)))
                data = json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> EmbeddingUpstream:
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

    def answer(
        self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to one request."""
        path = handler.path
        self.last = (path, asked)
        gemini = path.startswith("/v1beta/")
        held = handler.headers.get("x-goog-api-key" if gemini else "authorization")
        try:
            if held != (KEY if gemini else f"Bearer {KEY}"):
                raise Refused("no credential")
            if path == "/v1/embeddings":
                return 200, _openai(asked)
            if path == "/v2/embed":
                return 200, _cohere(asked)
            if gemini and path.endswith(":batchEmbedContents"):
                return 200, self._gemini(path, asked)
            if gemini and path.endswith(":embedContent"):
                _only(asked, {"content", "taskType", "title", "outputDimensionality", "model"})
                return 200, {"embedding": {"values": _vector(_text(asked), asked.get("x"))}}
            raise Refused(f"no path {path}")
        except Refused as refused:
            if gemini:
                return 400, {"error": {"code": 400, "message": str(refused),
                                       "status": "INVALID_ARGUMENT"}}  # fmt: skip
            if path == "/v2/embed":
                return 400, {"message": str(refused)}
            return 400, {"error": {"message": str(refused), "type": "invalid_request_error",
                                   "param": None, "code": None}}  # fmt: skip

    def _gemini(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        _only(asked, {"requests"})
        model = path.removeprefix("/v1beta/").removesuffix(":batchEmbedContents")
        found = []
        for one in asked["requests"]:
            _only(one, {"model", "content", "taskType", "title", "outputDimensionality"})
            if one.get("model") != model:
                raise Refused("the model of a request must be that of the path")
            found.append({"values": _vector(_text(one), one.get("outputDimensionality"))})
        answer: dict[str, Any] = {"embeddings": found}
        if self.tells_usage:
            answer["usageMetadata"] = {"promptTokenCount": 9}
        return answer


def _only(asked: dict[str, Any], known: set[str]) -> None:
    if asked.keys() - known:
        raise Refused(f"unknown field {sorted(asked.keys() - known)[0]}")


def _text(asked: dict[str, Any]) -> str:
    content = asked["content"]
    _only(content, {"parts", "role"})
    return "\n".join(part["text"] for part in content["parts"])


def _vector(text: str, dimensions: int | None) -> list[float]:
    return [float(len(text)), 0.5, -1.25][:dimensions]


def _openai(asked: dict[str, Any]) -> dict[str, Any]:
    _only(asked, {"model", "input", "dimensions", "encoding_format", "user"})
    if asked.get("encoding_format") != "float" or not asked["input"]:
        raise Refused("this provider is asked for floats")
    data = [
        {"object": "embedding", "index": index,
         "embedding": _vector(text, asked.get("dimensions"))}
        for index, text in enumerate(asked["input"])
    ]  # fmt: skip
    data.reverse()
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}


def _cohere(asked: dict[str, Any]) -> dict[str, Any]:
    _only(asked, {"model", "texts", "input_type", "embedding_types", "output_dimension"})
    if asked["model"] == "broken":
        return {"id": "x", "embeddings": {"float": [[1.0]]}, "texts": asked["texts"]}
    if asked.get("input_type") not in (
        "search_document", "search_query", "classification", "clustering",
    ):  # fmt: skip
        raise Refused("input_type is needed")
    if asked.get("embedding_types") != ["float"]:
        raise Refused("embedding_types")
    if len(asked["texts"]) > 96:
        raise Refused("too many texts")
    vectors = [_vector(text, asked.get("output_dimension")) for text in asked["texts"]]
    units = {"billed_units": {"input_tokens": 7}}
    return {"id": "x", "embeddings": {"float": vectors}, "texts": asked["texts"], "meta": units}
