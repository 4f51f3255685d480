"""Which headers cross the gateway, both ways. Whatever is not listed stays behind.

A client's authorization, cookies, forwarding and hop-by-hop headers never reach a provider;
a provider's cookies, limits and account headers never reach a client.
"""

from __future__ import annotations

#: Sent on to any provider. Values are one line each: the edge has refused anything else.
ALWAYS = frozenset(
    {
        b"idempotency-key",
        b"x-client-request-id",
    }
)

#: Sent on as they came where nothing is traced here; a tracing gateway puts its own in place.
TRACE = frozenset({b"traceparent", b"tracestate"})

#: Sent on where the provider speaks OpenAI's dialect as the caller does.
OPENAI = frozenset({b"openai-beta", b"openai-organization", b"openai-project"})

#: Sent back to the client.
TO_CLIENT = (b"openai-processing-ms", b"openai-version", b"openai-model")


def lines_to_upstream(headers: dict[bytes, bytes], names: frozenset[bytes]) -> bytes:
    """Return the header lines of a client's request that go on to the provider."""
    return b"".join(
        [name + b": " + value + b"\r\n" for name, value in headers.items() if name in names]
    )


def lines_to_client(headers: dict[bytes, bytes]) -> bytes:
    """Return the header lines of a provider's answer that go back to the client."""
    lines = b""
    for name in TO_CLIENT:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines
