"""Clouds of our own: they verify each token, signature and path, and refuse what is not exact."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.fakes.strict.bedrock_converse import frame
from typing_extensions import override

WORDS = ["Hello", ", ", "world", "."]
TEXT = "".join(WORDS)

#: Status, content type, body.
Answer = tuple[int, str, bytes]


def chat_answer(body: dict[str, Any]) -> Answer:
    """Answer a Chat Completions request, streamed if it asks for that."""
    common = {"id": "chatcmpl-1", "created": 1, "model": body.get("model", "deployed")}
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    if not body.get("stream"):
        message = {"role": "assistant", "content": TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {**common, "object": "chat.completion", "choices": [choice], "usage": usage}
        return 200, "application/json", json.dumps(answer).encode()
    chunk = {**common, "object": "chat.completion.chunk"}
    events: list[dict[str, Any]] = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        for word in WORDS
    ]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({**chunk, "choices": [], "usage": usage})
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    return 200, "text/event-stream", stream.encode()


class Cloud:
    """One server on a free port; a subclass answers.

    Attributes:
        url: Its origin.
        paths: Targets asked for, in order.
        refusals: Why it refused, in order; tests want this empty.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.refusals: list[str] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                cloud.paths.append(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, kind, data = cloud.answer(self.command, self.path, headers, body)
                if status == 401:
                    cloud.refusals.append(data.decode())
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            @override
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request."""
        raise NotImplementedError

    def __enter__(self) -> Cloud:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def refuse(reason: str, status: int = 401) -> Answer:
    """Refuse with *reason* in the body."""
    return status, "application/json", json.dumps({"error": {"message": reason}}).encode()


class Azure(Cloud):
    """Azure OpenAI and Entra ID in one: keys, tokens that end, deployments and api-version.

    Attributes:
        lifetime_s: Of the tokens that it gives out.
        issued: Tokens so far.
        is_down: Whether the token endpoint fails.
    """

    KEY = "azure-key-0123456789"
    TENANT = "11111111-2222-3333-4444-555555555555"
    CLIENT = "client-1"
    CLIENT_SECRET = "entra-secret-0123456789~_"
    SCOPE = "https://cognitiveservices.azure.com/.default"
    VERSION = "2024-10-21"
    IDENTITY_HEADER = "identity-header-0123456789"
    ASSERTION = "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"

    def __init__(self) -> None:
        super().__init__()
        self.lifetime_s = 3600.0
        self.issued: dict[str, float] = {}
        self.is_down = False

    @override
    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == f"/{self.TENANT}/oauth2/v2.0/token":
            return self._token(headers, body)
        if urlsplit(path).path in ("/metadata/identity/oauth2/token", "/msi/token"):
            return self._identity(method, path, headers)
        authorization = headers.get("authorization")
        if authorization is None:
            if headers.get("api-key") != self.KEY:
                return refuse("wrong api-key")
        elif "api-key" in headers:
            return refuse("two credentials")
        elif self.issued.get(authorization.removeprefix("Bearer "), 0.0) < time.monotonic():
            return refuse(f"no valid token: {authorization[-6:]}")
        fields = json.loads(body)
        if path == "/openai/v1/chat/completions":
            return chat_answer(fields)
        if path == f"/openai/deployments/my-deployment/chat/completions?api-version={self.VERSION}":
            return chat_answer(fields)
        return refuse(f"no such path: {path}", 404)

    def _identity(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Answer as a machine's metadata service or an app's endpoint; numbers are texts there."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        is_app = parts.path == "/msi/token"
        wanted = {
            "api-version": "2019-08-01" if is_app else "2018-02-01",
            "resource": "https://cognitiveservices.azure.com",
            "client_id": self.CLIENT,
        }
        proven = (
            headers.get("x-identity-header") == self.IDENTITY_HEADER
            if is_app
            else headers.get("metadata") == "true"
        )
        if method != "GET" or query != wanted or not proven or self.is_down:
            data = {"error": "invalid_request", "error_description": "Identity not found"}
            return 400, "application/json", json.dumps(data).encode()
        end = int(time.time() + self.lifetime_s)
        told = {"expires_on": str(end)} if is_app else {"expires_in": str(int(self.lifetime_s))}
        answer = {"token_type": "Bearer", "access_token": self._issue(), **told}
        return 200, "application/json", json.dumps(answer).encode()

    def _issue(self) -> str:
        token = f"entra-token-{len(self.issued) + 1:04}"
        self.issued[token] = time.monotonic() + self.lifetime_s
        return token

    def _token(self, headers: dict[str, str], body: bytes) -> Answer:
        if self.is_down:
            return refuse("down", 503)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        wanted = {
            "grant_type": "client_credentials",
            "client_id": self.CLIENT,
            "client_secret": self.CLIENT_SECRET,
            "scope": self.SCOPE,
        }
        if "client_assertion" in form:
            del wanted["client_secret"]
            wanted["client_assertion"] = self.ASSERTION
            wanted["client_assertion_type"] = (
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            )
        if form != wanted or headers["content-type"] != "application/x-www-form-urlencoded":
            data = {"error": "invalid_client", "error_description": f"secret {form}"}
            return 401, "application/json", json.dumps(data).encode()
        token = self._issue()
        answer = {"token_type": "Bearer", "expires_in": self.lifetime_s, "access_token": token}
        return 200, "application/json", json.dumps(answer).encode()


class Bedrock(Cloud):
    """Amazon Bedrock's Converse: verifies signatures by itself, streams binary frames.

    Attributes:
        secrets: Access key id → secret key and session token of those that it knows.
    """

    REGION = "eu-central-1"
    MODEL = "anthropic.claude-sonnet-4-20250514-v1:0"
    BEARER = "bedrock-api-key-0123456789"

    def __init__(self) -> None:
        super().__init__()
        self.secrets: dict[str, tuple[str, str | None]] = {}

    @override
    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {self.BEARER}":
            fault = self._fault(method, path, headers, body)
            if fault:
                return refuse(fault)
        fields = json.loads(body)
        if not fields.get("messages") or "model" in fields or "stream" in fields:
            return refuse("no Converse request", 400)
        usage = {"inputTokens": 5, "outputTokens": 4, "totalTokens": 9}
        if path == f"/model/{quote(self.MODEL, safe='')}/converse":
            message = {"role": "assistant", "content": [{"text": TEXT}]}
            answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
            return 200, "application/json", json.dumps({**answer, "metrics": {}}).encode()
        if path == f"/model/{quote(self.MODEL, safe='')}/converse-stream":
            events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
            events += [
                ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
                for word in WORDS
            ]
            events += [
                ("contentBlockStop", {"contentBlockIndex": 0}),
                ("messageStop", {"stopReason": "end_turn"}),
                ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
            ]
            data = b"".join(_event(kind, payload) for kind, payload in events)
            return 200, "application/vnd.amazon.eventstream", data
        return refuse(f"no such path: {path}", 404)

    def _fault(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        """Return what is wrong with a signature, computed as the service does."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/bedrock/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if found is None:
            return "no signature"
        key_id, day, region, names, signature = found.groups()
        if region != self.REGION or key_id not in self.secrets:
            return "unknown key or region"
        secret, token = self.secrets[key_id]
        if headers.get("x-amz-security-token") != token:
            return "wrong session token"
        signed = names.split(";")
        needed = {"host", *(name for name in headers if name.startswith("x-amz-"))}
        if signed != sorted(signed) or not needed <= set(signed):
            return "headers are missing in the signature"
        stamp = headers["x-amz-date"]
        age_s = time.time() - time.mktime(time.strptime(stamp, "%Y%m%dT%H%M%SZ")) + time.timezone
        if abs(age_s) > 300 or not stamp.startswith(day):
            return "old signature"
        lines = [method, quote(path, safe="/"), ""]
        lines += [f"{name}:{headers[name]}" for name in signed]
        lines += ["", names, hashlib.sha256(body).hexdigest()]
        scope = f"{day}/{region}/bedrock/aws4_request"
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        key = b"AWS4" + secret.encode()
        for part in (day, region, "bedrock", "aws4_request", None):
            text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}" if part is None else part
            key = hmac.digest(key, text.encode(), "sha256")
        return "" if key.hex() == signature else "wrong signature"


def _event(kind: str, payload: dict[str, Any]) -> bytes:
    headers = {
        ":event-type": kind, ":content-type": "application/json", ":message-type": "event",
    }  # fmt: skip
    return frame(headers, json.dumps(payload).encode())


class Vertex(Cloud):
    """Google Vertex AI and the token endpoint of service accounts in one.

    Attributes:
        account: JSON key of a service account that it knows.
        issued: Tokens so far.
        last: Body of the last request to a model.
    """

    EMAIL = "gateway@acme.iam.gserviceaccount.com"
    HOME = "/v1/projects/acme/locations/europe-west4/publishers"
    CLAUDE = "claude-sonnet-4@20250514"

    def __init__(self) -> None:
        super().__init__()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = key.public_key()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.account = {
            "type": "service_account", "project_id": "acme", "private_key_id": "1",
            "private_key": pem.decode(), "client_email": self.EMAIL,
            "token_uri": f"{self.url}/token",
        }  # fmt: skip
        self.issued: set[str] = set()
        self.last: dict[str, Any] = {}

    @override
    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path == "/token":
            return self._token(body)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.issued:
            return refuse("no valid token")
        self.last = json.loads(body)
        gemini = f"{self.HOME}/google/models/gemini-2.5-flash"
        claude = f"{self.HOME}/anthropic/models/{self.CLAUDE}"
        routes: dict[str, Callable[[], Answer]] = {
            f"{gemini}:generateContent": lambda: _gemini(is_stream=False),
            f"{gemini}:streamGenerateContent?alt=sse": lambda: _gemini(is_stream=True),
            f"{claude}:rawPredict": lambda: self._claude(is_stream=False),
            f"{claude}:streamRawPredict": lambda: self._claude(is_stream=True),
            f"{self.HOME}/anthropic/models/count-tokens:rawPredict": self._count_claude,
            f"{gemini}:countTokens": self._count_gemini,
            f"{self.HOME}/google/models/text-embedding-005:predict": self._predict,
            f"{self.HOME.replace('/v1/', '/v1beta1/')}/google/models/gemini-embedding-001"
            ":batchEmbedContents": self._embed,
        }
        route = routes.get(unquote(path))
        return refuse(f"no such path: {path}", 404) if route is None else route()

    def _token(self, body: bytes) -> Answer:
        form = parse_qs(body.decode())
        if form["grant_type"] != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return refuse("unsupported_grant_type", 400)
        head, claims, signature = form["assertion"][0].split(".")
        self._public.verify(
            _decode(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        told = json.loads(_decode(claims))
        if told["iss"] != self.EMAIL or not told["scope"].endswith("/auth/cloud-platform"):
            return refuse("invalid_grant", 400)
        token = f"google-token-{len(self.issued) + 1:04}"
        self.issued.add(token)
        answer = {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        return 200, "application/json", json.dumps(answer).encode()

    def _count_claude(self) -> Answer:
        body = self.last
        if body.get("anthropic_version") != "vertex-2023-10-16" or body["model"] != self.CLAUDE:
            return refuse("anthropic_version and model: Field required", 400)
        return 200, "application/json", json.dumps({"input_tokens": 23}).encode()

    def _count_gemini(self) -> Answer:
        known = {"contents", "systemInstruction", "tools", "generationConfig"}
        if "contents" not in self.last or not self.last.keys() <= known:
            return refuse("Invalid JSON payload received", 400)
        return 200, "application/json", json.dumps({"totalTokens": 31}).encode()

    def _predict(self) -> Answer:
        if not self.last.keys() <= {"instances", "parameters"} or not all(
            isinstance(one["content"], str) and one.keys() <= {"content", "task_type", "title"}
            for one in self.last["instances"]
        ):
            return refuse("Invalid instance", 400)
        statistics = {"token_count": 3, "truncated": False}
        found = [
            {"embeddings": {"values": [0.5, float(at)], "statistics": statistics}}
            for at, _ in enumerate(self.last["instances"])
        ]
        return 200, "application/json", json.dumps({"predictions": found}).encode()

    def _embed(self) -> Answer:
        if self.last.keys() != {"requests"} or not all(
            one["content"]["role"] == "user" and one.keys() <= {"content", "embedContentConfig"}
            for one in self.last["requests"]
        ):
            return refuse("Invalid JSON payload received", 400)
        found = [{"values": [0.25, float(at)]} for at, _ in enumerate(self.last["requests"])]
        answer = {"embeddings": found, "usageMetadata": {"promptTokenCount": 7}}
        return 200, "application/json", json.dumps(answer).encode()

    def _claude(self, *, is_stream: bool) -> Answer:
        body = self.last
        if body.get("anthropic_version") != "vertex-2023-10-16" or "model" in body:
            return refuse("anthropic_version: Field required", 400)
        if bool(body.get("stream")) != is_stream or "max_tokens" not in body:
            return refuse("bad request", 400)
        message: dict[str, Any] = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": self.CLAUDE,
            "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 1},
        }  # fmt: skip
        if not is_stream:
            message |= {"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn"}
            return 200, "application/json", json.dumps(message).encode()
        block = {"type": "text", "text": ""}
        stop = {"stop_reason": "end_turn", "stop_sequence": None}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *(
                {"type": "content_block_delta", "index": 0,
                 "delta": {"type": "text_delta", "text": word}}
                for word in WORDS
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ]  # fmt: skip
        text = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)
        return 200, "text/event-stream", text.encode()


def _gemini(*, is_stream: bool) -> Answer:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 4, "totalTokenCount": 9}

    def piece(text: str, **more: object) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        return {"candidates": [{"index": 0, "content": content, **more}], "usageMetadata": usage}

    if not is_stream:
        return 200, "application/json", json.dumps(piece(TEXT, finishReason="STOP")).encode()
    pieces = [piece(word) for word in WORDS[:-1]] + [piece(WORDS[-1], finishReason="STOP")]
    text = "".join(f"data: {json.dumps(each)}\r\n\r\n" for each in pieces)
    return 200, "text/event-stream", text.encode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Ollama(Cloud):
    """An Ollama server; its models can be changed, and it may not be ready yet."""

    def __init__(self) -> None:
        super().__init__()
        self.models = ["llama3.2:3b", "qwen3"]
        self.is_ready = True

    @override
    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if not self.is_ready:
            return refuse("loading", 503)
        if method == "GET" and urlsplit(path).path == "/api/tags":
            data = {"models": [{"name": name, "size": 1} for name in self.models]}
            return 200, "application/json", json.dumps(data).encode()
        fields = json.loads(body)
        if path == "/v1/chat/completions" and fields["model"] in self.models:
            return chat_answer(fields)
        return refuse(f"model not found: {path}", 404)
