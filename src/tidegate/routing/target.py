"""A target: one provider's name of a model, ready to be sent requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import Quirks
from tidegate.upstream.answer import UpstreamClient
from tidegate.upstream.pool import UpstreamPool

_CHAT_ONLY = MappingProxyType({"openai": ("/chat/completions", "/chat/completions")})
_NO_QUIRKS = Quirks()
_JSON_LINE = b"content-type: application/json\r\n"


class Signer(Protocol):
    """Authorizes requests one by one, for providers that want more than a fixed header."""

    async def lines(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Return the header lines that authorize this request, each with its CRLF.

        Args:
            method: `b"POST"`.
            path: Whole target, query included, as it will be sent.
            body: Exactly as it will be sent.

        Raises:
            UpstreamFault: There is no credential now (kind `connect`); nothing was sent.
        """
        ...

    def doubt(self) -> None:
        """Take note that the provider refused a request that was authorized so (401)."""
        ...


class Target:
    """One deployment.

    Attributes:
        provider: Configured provider name; a metric label.
        model: The model's name there, as sent.
        label: The model's name as a metric label: configured text, never a client's.
        raw_model: `model` as JSON.
        weight: Share of the traffic among the targets of one model name.
        client: Where requests are sent.
        pool: The same, where free connections can be taken out of it at once; else None.
        stream_usage: Whether `stream_options.include_usage` may be asked of it.
        meters: The pipeline's metric series of this target.
        note: Response header lines that name it.
        paths: Operation → path of a whole answer below the base URL.
        stream_paths: Operation → path of a stream.
        signer: Authorizes each request; None where the fixed lines hold the credential.
        reshape: Changes each request's body at last; None where it goes as it is.
        quirks: Where it differs, for translated requests.
        estimator: Learned ratios of bytes to tokens; set by the pipeline.
        price: What its tokens cost; None when the model has no known price.
        price_version: Version of the table that `price` is from.
        context_tokens: Its context window; None when that is not known.
        max_output_tokens: Longest answer that may be asked for; None when that is not known.
        capabilities: Kinds of endpoints that its provider documents; empty when nobody says.
    """

    __slots__ = (
        "_base_path",
        "_heads",
        "_origin_lines",
        "capabilities",
        "client",
        "context_tokens",
        "estimator",
        "label",
        "max_output_tokens",
        "meters",
        "model",
        "note",
        "paths",
        "pool",
        "price",
        "price_version",
        "provider",
        "quirks",
        "raw_model",
        "reshape",
        "signer",
        "stream_paths",
        "stream_usage",
        "weight",
    )

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        label: str,
        weight: int,
        client: UpstreamClient,
        base_path: bytes,
        origin_lines: bytes,
        stream_usage: bool,
        operations: Mapping[str, tuple[str, str]] = _CHAT_ONLY,
        quirks: Quirks = _NO_QUIRKS,
    ) -> None:
        self.provider = provider
        self.model = model
        self.label = label
        self.raw_model = msgspec.Raw(msgspec.json.encode(model))
        self.weight = weight
        self.client = client
        self.pool = client if isinstance(client, UpstreamPool) else None
        self.stream_usage = stream_usage
        self.meters: Any = None
        self.estimator: Any = None
        self.price: Any = None
        self.price_version = ""
        self.context_tokens: int | None = None
        self.max_output_tokens: int | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.signer: Signer | None = None
        self.reshape: Callable[[str, bytes], bytes] | None = None
        self.note = b"x-tidegate-provider: " + provider.encode("ascii", "replace") + b"\r\n"
        self._base_path = base_path
        self._origin_lines = origin_lines
        self.quirks = quirks
        name = quote(model, safe="").encode("ascii")
        self.paths = {
            operation: whole.encode().replace(b"{model}", name)
            for operation, (whole, _) in operations.items()
        }
        self.stream_paths = {
            operation: stream.encode().replace(b"{model}", name)
            for operation, (_, stream) in operations.items()
        }
        self._heads: dict[bytes, bytes] = {}

    def head(self, path: bytes, content_type: bytes = b"") -> bytes:
        """Return the request line and fixed headers of a POST to *path* below the base URL.

        They hold the provider's credential, and end before the client's own headers.

        Args:
            path: One of `paths`.
            content_type: Media type of the body; JSON by default.
        """
        if content_type:
            return self.request_head(b"POST", path, content_type)
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = (
                b"POST " + self._base_path + path + b" HTTP/1.1\r\n" + self._origin_lines
            )
        return head

    def request_head(self, method: bytes, path: bytes, content_type: bytes = b"") -> bytes:
        """Return what `head` does, for any method; no media type without *content_type*."""
        lines = self._origin_lines.replace(_JSON_LINE, b"", 1)
        if content_type:
            lines += b"content-type: " + content_type + b"\r\n"
        return method + b" " + self._base_path + path + b" HTTP/1.1\r\n" + lines

    async def signed_lines(self, path: bytes, body: bytes, method: bytes = b"POST") -> bytes:
        """Return what authorizes a request with *body* to *path* below the base URL."""
        assert self.signer is not None
        return await self.signer.lines(method, self._base_path + path, body)

    def cost_nano_usd(self, usage: Usage) -> int | None:
        """Return what *usage* costs in 1e-9 USD; None when the model has no price."""
        return None if self.price is None else self.price.cost_nano_usd(usage)
