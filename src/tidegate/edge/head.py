"""From the bytes of a request's head to its parts, refusing all that is not plain HTTP/1.x.

One pass, with bytes methods that run in C over the whole head; only header lines are
visited one by one. Nothing is repaired: a head either is exactly what RFC 9112 says a
sender must produce, or names a rule of `edge.rules` that it breaks.
"""

from __future__ import annotations

import re
import socket

import msgspec

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.rules import Refusal, refusal

CHUNKED = -1
"""`RequestHead.content_length` of a body whose length the chunks tell."""

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Bytes that may stand in a header name (RFC 9110 5.6.2)."""

FIELD_BYTES = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))
"""Bytes that may stand in a header line: no control but the tab; 0x80 and up are opaque."""

SINGLETONS = frozenset(
    b"authorization proxy-authorization x-api-key api-key x-goog-api-key host content-length "
    b"transfer-encoding content-type content-range expect user-agent referer from origin date "
    b"max-forwards range if-range if-modified-since if-unmodified-since x-request-id traceparent "
    b"idempotency-key anthropic-version openai-organization openai-project last-event-id".split()
)
"""Headers of which a second one makes the request ambiguous. Others are joined with `, `."""

_METHOD_MAX_BYTES = 24
_REQUEST_LINE = re.compile(rb"([A-Z]{1,24}) ([!-~]+) HTTP/1\.([01])(?=\r\n)")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_METHOD = re.compile(rb"[A-Z]{1,24}")
_TARGET = re.compile(rb"[!-~]+")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")


class RequestHead(msgspec.Struct, eq=False):
    """The parts of a request's head; `edge.http_exchange` adds the way to answer it.

    Attributes:
        method: Upper-case bytes.
        path: Path as sent, `b"/v1/models"`.
        query: What followed the first `?`.
        headers: Lower-case name → value.
        http_1_0: The request says HTTP/1.0.
        keep_alive: The connection may serve another request after this one.
        content_length: Bytes of body announced, 0 without any, or `CHUNKED`.
        expects_continue: The client waits for `100 Continue` before it sends the body.
    """

    method: bytes = b""
    path: bytes = b""
    query: bytes = b""
    headers: dict[bytes, bytes] = {}
    http_1_0: bool = False
    keep_alive: bool = True
    content_length: int = 0
    expects_continue: bool = False


def parse_head(data: bytes, start: int, end: int, caps: EdgeSnapshot, into: RequestHead) -> None:
    r"""Fill *into* from the head `data[start:end]`, where `data[end:end + 4]` is `\r\n\r\n`.

    Raises `Refusal` with the first rule that the head breaks.
    """
    match = _REQUEST_LINE.match(data, start)
    if match is None:
        raise _request_line_fault(data[start : data.find(b"\r\n", start)], caps)
    method, target, minor = match.groups()
    if len(target) > caps.max_target_bytes:
        raise refusal("target_too_long")
    if end - start > caps.max_header_bytes:
        raise refusal("header_bytes")
    absolute = None
    if target[0] != 0x2F or b"#" in target or method == b"CONNECT":
        absolute = _absolute_target(method, target)
        target = absolute[1]
    into.method = method
    into.path, _, into.query = target.partition(b"?")
    into.http_1_0 = http_1_0 = minor == b"0"
    into.headers = headers = _parse_lines(data[match.end() + 2 : end], caps.max_headers)

    host = headers.get(b"host")
    if host is None:
        if not http_1_0:
            raise refusal("host_missing")
    elif not is_host(host):
        raise refusal("host_grammar")
    elif absolute is not None and _without_port(host, absolute[2]) != absolute[0]:
        raise refusal("target_host")
    into.content_length = _body_length(headers, http_1_0, caps.max_body_bytes)
    into.keep_alive = _keeps_alive(headers.get(b"connection"), http_1_0)
    into.expects_continue = False
    if b"expect" in headers and not http_1_0:
        if headers[b"expect"].lower() != b"100-continue":
            raise refusal("expectation")
        into.expects_continue = into.content_length != 0


def check_partial(data: bytes, start: int, scanned: int, caps: EdgeSnapshot) -> None:
    """Refuse early what can no longer become a good head, however slowly it comes.

    Args:
        data: Buffer that holds an unfinished head from *start* on.
        start: Offset of the head's first byte.
        scanned: Offset up to which line ends have already been looked at.
        caps: Configured caps.
    """
    _check_first_byte(data[start])
    line_end = data.find(b"\n", scanned)
    while line_end >= 0:
        if data[line_end - 1] != 0x0D:
            raise refusal("bare_lf")
        line_end = data.find(b"\n", line_end + 1)
    first_end = data.find(b"\r\n", start)
    if first_end >= 0:
        match = _REQUEST_LINE.match(data, start)
        if match is None:
            raise _request_line_fault(data[start:first_end], caps)
        if len(match[2]) > caps.max_target_bytes:
            raise refusal("target_too_long")
    else:
        _check_partial_line(data[start : start + caps.max_target_bytes + 64], caps)
    if len(data) - start > caps.max_header_bytes + 3:
        raise refusal("header_bytes")


def is_host(value: bytes) -> bool:
    """Whether *value* is a name, an IPv4 or a bracketed IPv6 address, with optional port.

    Of the characters that RFC 3986 allows in a name only letters, digits and `.-_~` pass:
    the others serve nobody but those who hope that two programs read them differently.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    address, port = match.groups()
    if port is not None and int(port) > 65_535:
        return False
    if address is not None:
        try:
            socket.inet_pton(socket.AF_INET6, address.decode())
        except OSError:
            return False
    return True


def _parse_lines(block: bytes, max_headers: int) -> dict[bytes, bytes]:
    """Return the header lines of *block* (CRLF between them, none at the end) as a dict."""
    if not block:
        return {}
    lines = block.split(b"\r\n")
    if len(lines) > max_headers:
        raise refusal("header_count")
    # What is left of the block without its legal bytes are the line ends and nothing else.
    # The comparison with the number of CRLF pairs also finds a CR and a LF that stand apart.
    if block.translate(None, FIELD_BYTES) != b"\r\n" * (len(lines) - 1):
        raise _control_fault(block)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise refusal("header_fold" if line[:1] in (b" ", b"\t") else "header_colon")
        headers[name.lower()] = value.strip()
    if b"".join(headers).translate(None, TOKEN_BYTES) or b"" in headers:
        folded = any(line[:1] in (b" ", b"\t") for line in lines)
        raise refusal("header_fold" if folded else "header_name")
    if len(headers) != len(lines):
        return _join_repeated(lines)
    return headers


def _join_repeated(lines: list[bytes]) -> dict[bytes, bytes]:
    """Return the headers of checked *lines* where some names stand more than once."""
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers.setdefault(name.lower(), []).append(value.strip())
    for name, values in headers.items():
        if len(values) > 1 and name in SINGLETONS:
            raise refusal("header_repeated")
    return {
        name: (b"; " if name == b"cookie" else b", ").join(values)
        for name, values in headers.items()
    }


def _control_fault(block: bytes) -> Refusal:
    """Name the rule broken by a stray CR, LF or other control in *block*."""
    if block.count(b"\n") != block.count(b"\r\n"):
        return refusal("bare_lf")
    if block.count(b"\r") != block.count(b"\r\n"):
        return refusal("bare_cr")
    return refusal("header_control")


def _body_length(headers: dict[bytes, bytes], http_1_0: bool, max_body_bytes: int) -> int:
    """Return the announced length, or `CHUNKED`; there is never more than one way to read it."""
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise refusal("length_and_chunked")
        if http_1_0:
            raise refusal("coding_http_1_0")
        if coding.lower() != b"chunked":
            words = [word.strip() for word in coding.lower().split(b",")]
            guess = b"chunked" in words[:-1] or not all(words) or b";" in coding
            raise refusal("coding_grammar" if guess else "coding_unknown")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit():
        raise refusal("length_grammar")
    if len(length) > 18 or (announced := int(length)) > max_body_bytes:
        raise refusal("body_too_large")
    return announced


def _keeps_alive(connection: bytes | None, http_1_0: bool) -> bool:
    """Whether the client wants the connection to stay open after the answer."""
    if connection is None:
        return not http_1_0
    options = [option.strip() for option in connection.lower().split(b",")]
    if b"close" in options:
        return False
    return not http_1_0 or b"keep-alive" in options


def _absolute_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a target that is no plain path: `(authority, path and query, default port)`."""
    if method == b"CONNECT":
        raise refusal("connect")
    if b"#" in target:
        raise refusal("target_bytes")
    if target == b"*" and method == b"OPTIONS":
        raise refusal("target_asterisk")
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_host(match[2]):
        raise refusal("target_form")
    scheme, authority, path = match.groups()
    default_port = b":443" if len(scheme) == 5 else b":80"
    if not path.startswith(b"/"):
        path = b"/" + path
    return _without_port(authority, default_port), path, default_port


def _without_port(authority: bytes, default_port: bytes) -> bytes:
    """Return *authority* as it is compared: lower case, its scheme's own port left out."""
    return authority.lower().removesuffix(default_port)


def _request_line_fault(line: bytes, caps: EdgeSnapshot) -> Refusal:
    """Name the rule that a first line breaks which is not a good request line."""
    try:
        _check_partial_line(line[: caps.max_target_bytes + 64], caps)
    except Refusal as fault:
        return fault
    words = line.split(b" ")
    if b"\n" in line or b"\r" in line:
        return refusal("bare_lf" if b"\n" in line else "bare_cr")
    if len(words) == 3 and _VERSION.fullmatch(words[2]):
        # Only the version or the target can be at fault: the method was looked at above.
        known = words[2] in (b"HTTP/1.1", b"HTTP/1.0")
        return refusal("target_bytes" if known else "http_version")
    if len(words) == 2 and _TARGET.fullmatch(words[1]):
        return refusal("http_0_9")
    if len(words) > 3 and _VERSION.fullmatch(words[-1]):
        return refusal("target_bytes")
    return refusal("request_line")


def _check_partial_line(line: bytes, caps: EdgeSnapshot) -> None:
    """Refuse the start of a request line that cannot become a good one.

    *line* has no CRLF yet, or is whole; it is cut a little behind the target's cap.
    """
    _check_first_byte(line[0] if line else 0x0D)
    space = line.find(b" ", 0, _METHOD_MAX_BYTES + 1)
    method = line[: space if space >= 0 else _METHOD_MAX_BYTES + 1]
    if not _METHOD.fullmatch(method.removesuffix(b"\r") if space < 0 else method):
        raise refusal("method")
    if space >= 0 and line.find(b" ", space + 1) < 0:
        if len(line) - space - 1 > caps.max_target_bytes:
            raise refusal("target_too_long")
        target = line[space + 1 :].removesuffix(b"\r")
        if target and not _TARGET.fullmatch(target):
            raise refusal("bare_cr" if b"\r" in target else "target_bytes")


def _check_first_byte(byte: int) -> None:
    """Refuse what does not begin like a method: a letter from A to Z."""
    if not 0x41 <= byte <= 0x5A:
        raise refusal("tls_on_plain_port" if byte == 0x16 else "not_http")
