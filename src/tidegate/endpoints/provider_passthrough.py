"""`/{provider}/…`: any method and path below a provider's base URL, for who configures it.

    providers: {openai: {passthrough: true}}
    GET /openai/fine_tuning/jobs  →  https://api.openai.com/v1/fine_tuning/jobs

Keys, limits and ledger stay; the credential is added here. Nothing that a client sends decides
where a request goes beyond the path below that URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from tidegate.config.snapshot import ProviderSnapshot
from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.dialects.gemini import GEMINI
from tidegate.dialects.openai import OPENAI
from tidegate.endpoints.object_ids import may_refer
from tidegate.endpoints.ownership import watches
from tidegate.endpoints.passthrough_objects import check_request, notes_of
from tidegate.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.forward import ALWAYS, lines_to_upstream
from tidegate.pipeline.forward import OPENAI as OPENAI_HEADERS
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.operation import PASSTHROUGH, RESPONSE
from tidegate.pipeline.pass_on import Onward, relay
from tidegate.routing.target import Target

#: TRACE would echo our credential; CONNECT and upgrades are no requests.
_METHODS = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT")

_TO_PROVIDER = (
    ALWAYS
    | OPENAI_HEADERS
    | {
        b"accept",
        b"accept-language",
        b"anthropic-beta",
        b"anthropic-version",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"range",
        b"x-goog-api-client",
        b"x-goog-upload-command",
        b"x-goog-upload-header-content-length",
        b"x-goog-upload-header-content-type",
        b"x-goog-upload-offset",
        b"x-goog-upload-protocol",
    }
)

_TO_CLIENT = (
    b"accept-ranges",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"etag",
    b"last-modified",
)

_PATH = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
#: Broken escapes, controls, and signs that mean another path to whoever reads them first.
_TRICKS = re.compile(rb"%(?![0-9a-f]{2})|%[01]|%7f|%2[ef5]|%5c|//", re.IGNORECASE)
_QUERY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]|{}\"<>^`\\-]*")

#: Collections whose objects are one key's own, in OpenAI's API.
_KEPT = frozenset({OPENAI.name, RESPONSE.name})
_OWNED = frozenset({b"batches", b"conversations", b"files", b"responses"})

#: Where some clients put their key. Ours is read from headers alone, and goes nowhere.
_CREDENTIALS = frozenset(
    {b"key", b"api_key", b"api-key", b"apikey", b"access_token", b"x-api-key", b"x-goog-api-key"}
)


async def serve_passthrough(gateway: Gateway, call: Call) -> None:
    """Pass a request on to the provider that its path begins with; 404 where there is none."""
    exchange = call.exchange
    name, slash, rest = exchange.path[1:].partition(b"/")
    provider = _provider(call, name.decode("latin-1"))
    if provider is None or not slash:
        method = exchange.method.decode("ascii", "replace")
        raise NotFound(f"Invalid URL ({method} {exchange.path[:200].decode('ascii', 'replace')})")
    call.endpoint = _endpoint_of(provider)
    principal = await authenticate(gateway, call)
    if principal.models is not None:
        raise Forbidden("This key is for certain models only; it may not use a provider directly.")
    if exchange.method not in _METHODS:
        allow = b", ".join(_METHODS).decode()
        raise MethodNotAllowed(f"Use one of {allow}.", allow=allow)
    path = _checked(b"/" + rest, exchange.query)
    if not _KEPT.isdisjoint(provider.operations) and _names_owned(rest):
        raise Forbidden(
            "Files, batches, responses and conversations belong to the key that made them; "
            "ask for them under /v1, where that is looked after."
        )
    body = exchange.body
    if body is None:
        body = await exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    if watches(gateway, call) or may_refer(body):
        await check_request(gateway, call, principal, provider, path, body)
    await admit(gateway, call, principal, None)
    target = call.state.place(provider.name)
    assert target is not None
    content_type = exchange.headers.get(b"content-type", b"")
    onward = Onward(exchange.method, path, _lines(call, target), body, content_type)
    note = notes_of(gateway, call, principal, provider.name, path)
    await relay(gateway, call, target, onward, _lines_to_client, note)


def _provider(call: Call, name: str) -> ProviderSnapshot | None:
    for provider in call.state.snapshot.providers:
        if provider.name == name and provider.passthrough and provider.kind != "demo":
            return provider
    return None


def _checked(path: bytes, query: bytes) -> bytes:
    """Return path and query for the provider; raises `BadRequest` for a path that plays tricks."""
    segments = [segment.partition(b";")[0] for segment in path.split(b"/")]
    if (
        _PATH.fullmatch(path) is None
        or _TRICKS.search(path)
        or b"." in segments
        or b".." in segments
    ):
        raise BadRequest("The path below the provider's name cannot be passed on as it is.")
    if _QUERY.fullmatch(query) is None:
        raise BadRequest("The query cannot be passed on as it is.")
    kept = b"&".join([pair for pair in query.split(b"&") if not _is_credential(pair)])
    return path + b"?" + kept if kept else path


def _names_owned(path: bytes) -> bool:
    """Whether a path leads to objects that another key may have made, however it is spelled."""
    return any(
        unquote_to_bytes(segment.partition(b";")[0]).lower() in _OWNED
        for segment in path.split(b"/")
    )


def _is_credential(pair: bytes) -> bool:
    return any(
        unquote_to_bytes(part.partition(b"=")[0].replace(b"+", b" ")).strip(b" $").lower()
        in _CREDENTIALS
        for part in pair.split(b";")
    )


def _lines(call: Call, target: Target) -> bytes:
    """Return the client's header lines that go on: listed ones, none of ours, no hop's own."""
    headers = call.exchange.headers
    names = _TO_PROVIDER
    connection = headers.get(b"connection")
    if connection is not None:
        names -= {option.strip() for option in connection.lower().split(b",")}
    ours = target.request_head(b"GET", b"/").lower()
    names = frozenset(
        name for name in names if name in headers and b"\r\n" + name + b":" not in ours
    )
    return lines_to_upstream(headers, names)


def _lines_to_client(headers: dict[bytes, bytes]) -> bytes:
    return b"".join(
        [name + b": " + headers[name] + b"\r\n" for name in _TO_CLIENT if name in headers]
    )


_BY_DIALECT = {
    dialect.name: Endpoint("passthrough", b"", b"/{provider}", dialect, serve_passthrough,
                           PASSTHROUGH, takes_name=True)
    for dialect in (OPENAI, MESSAGES.dialect, GEMINI)
}  # fmt: skip


def _endpoint_of(provider: ProviderSnapshot) -> Endpoint:
    """Return the endpoint whose errors look as those of *provider* do."""
    for operation in provider.operations:
        if operation in _BY_DIALECT:
            return _BY_DIALECT[operation]
    return _BY_DIALECT[OPENAI.name]


ANY_PATH = _BY_DIALECT[OPENAI.name]
"""What is asked where no other endpoint has the path."""
