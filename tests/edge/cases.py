"""The edge's rules as raw bytes: what is sent, and the class of answer that must come out.

Each case is run by `test_edge_cases.py` whole, split at every byte, byte by byte, and
pipelined behind and before a good request. `code` is the rule's name in `edge.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: gate.test"
GOOD = b"POST /good HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 4\r\n\r\ngood"


@dataclass(frozen=True)
class Case:
    """Bytes in, class of answer out.

    Attributes:
        name: What is special about it.
        sent: The bytes of one request, or of what pretends to be one.
        status: Status of the answer.
        code: Rule that refuses it; None when it is served.
        body: The body that the handler must see, when it is served.
        stays: The connection serves a request behind it.
    """

    name: str
    sent: bytes
    status: int = 200
    code: str | None = None
    body: bytes = b""
    stays: bool = True


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """Return a request with CRLF line ends around what is given."""
    return b"\r\n".join((line, *headers)) + b"\r\n\r\n" + body


def refused(name: str, sent: bytes, status: int, code: str) -> Case:
    """Return a case that a rule refuses."""
    return Case(name, sent, status, code, stays=False)


def bad_line(name: str, line: bytes, status: int, code: str) -> Case:
    """Return a case whose first line is at fault."""
    return refused(name, request(line, HOST), status, code)


def bad_header(name: str, *headers: bytes, code: str, status: int = 400) -> Case:
    """Return a case whose header lines are at fault, on top of a good Host."""
    return refused(name, request(b"POST /x HTTP/1.1", HOST, *headers), status, code)


def bad_host(name: str, *headers: bytes, code: str = "host_grammar") -> Case:
    """Return a case whose only headers are the given ones."""
    return refused(name, request(b"GET /x HTTP/1.1", *headers), 400, code)


def chunked(body: bytes) -> bytes:
    """Return a chunked POST with *body* as it stands on the wire."""
    return request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked", body=body)


def bad_chunks(name: str, body: bytes, code: str, status: int = 400) -> Case:
    """Return a case whose chunked body is at fault."""
    return refused(name, chunked(body), status, code)


SERVED = (
    Case("plain GET", request(b"GET /x HTTP/1.1", HOST)),
    Case("GET with query", request(b"GET /x?a=b?c&d=%20 HTTP/1.1", HOST)),
    Case("DELETE", request(b"DELETE /x HTTP/1.1", HOST)),
    Case("host with port", request(b"GET /x HTTP/1.1", b"Host: gate.test:8000")),
    Case("host IPv4", request(b"GET /x HTTP/1.1", b"Host: 127.0.0.1:8000")),
    Case("host IPv6", request(b"GET /x HTTP/1.1", b"Host: [::1]:8000")),
    Case("host with underscore", request(b"GET /x HTTP/1.1", b"Host: my_gate")),
    Case("header name in capitals", request(b"GET /x HTTP/1.1", b"HOST: gate.test")),
    Case("no space after colon", request(b"GET /x HTTP/1.1", b"Host:gate.test")),
    Case("tabs and spaces around a value", request(b"GET /x HTTP/1.1", b"Host:\t gate.test \t")),
    Case("empty value", request(b"GET /x HTTP/1.1", HOST, b"X-Empty:")),
    Case("tab inside a value", request(b"GET /x HTTP/1.1", HOST, b"X-Tab: a\tb")),
    Case("opaque bytes in a value", request(b"GET /x HTTP/1.1", HOST, b"X-Opaque: \xe9\xff")),
    Case("colon in a value", request(b"GET /x HTTP/1.1", HOST, b"X-Colon: a:b:c")),
    Case("every token byte in a name", request(b"GET /x HTTP/1.1", HOST, b"!#$%&'*+-.^_`|~0aZ: x")),
    Case("repeated list header", request(b"GET /x HTTP/1.1", HOST, b"Accept: a", b"Accept: b")),
    Case("100 headers", request(b"GET /x HTTP/1.1", HOST, *(b"X-%d: y" % n for n in range(99)))),
    Case("target at its cap", request(b"GET /" + b"a" * 8191 + b" HTTP/1.1", HOST)),
    Case("absolute form, same host", request(b"GET http://gate.test/x HTTP/1.1", HOST)),
    Case("absolute form, other case", request(b"GET HTTP://GATE.test/x HTTP/1.1", HOST)),
    Case("absolute form, own port", request(b"GET http://gate.test:80/x HTTP/1.1", HOST)),
    Case("absolute form, no path", request(b"GET http://gate.test HTTP/1.1", HOST)),
    Case("absolute form, query only", request(b"GET http://gate.test?a=b HTTP/1.1", HOST)),
    Case("one empty line before it", b"\r\n" + request(b"GET /x HTTP/1.1", HOST)),
    Case("HTTP/1.0", request(b"GET /x HTTP/1.0", HOST), stays=False),
    Case("HTTP/1.0 without Host", request(b"GET /x HTTP/1.0"), stays=False),
    Case("HTTP/1.0 absolute form", request(b"GET http://gate.test/x HTTP/1.0"), stays=False),
    Case("HTTP/1.0 keep-alive", request(b"GET /x HTTP/1.0", HOST, b"Connection: keep-alive")),
    Case("close", request(b"GET /x HTTP/1.1", HOST, b"Connection: close"), stays=False),
    Case("close in a list", request(b"GET /x HTTP/1.1", HOST, b"Connection: x, Close"),
         stays=False),
    Case("close and keep-alive", request(b"GET /x HTTP/1.1", HOST, b"Connection: keep-alive",
                                         b"Connection: close"), stays=False),
    Case("upgrade is ignored", request(b"GET /x HTTP/1.1", HOST, b"Upgrade: websocket",
                                       b"Connection: Upgrade")),
    Case("h2c upgrade is ignored", request(b"GET /x HTTP/1.1", HOST, b"Upgrade: h2c",
                                           b"HTTP2-Settings: AAMAAABkAAQAAP__",
                                           b"Connection: Upgrade, HTTP2-Settings")),
    Case("upgrade without Connection", request(b"GET /x HTTP/1.1", HOST, b"Upgrade: h2c")),
    Case("Connection names a header", request(b"GET /x HTTP/1.1", HOST, b"Authorization: a",
                                              b"Connection: authorization")),
    Case("length 0", request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 0")),
    Case("length 5", request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 5", body=b"hello"),
         body=b"hello"),
    Case("length with zeros", request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 0005",
                                      body=b"hello"), body=b"hello"),
    Case("body like a request", request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 18",
                                        body=b"GET /y HTTP/1.1\r\n\r"),
         body=b"GET /y HTTP/1.1\r\n\r"),
    Case("GET with a body", request(b"GET /x HTTP/1.1", HOST, b"Content-Length: 2", body=b"ab"),
         body=b"ab"),
    Case("HTTP/1.0 with a body", request(b"POST /x HTTP/1.0", HOST, b"Content-Length: 2",
                                         body=b"ab"), body=b"ab", stays=False),
    Case("one chunk", chunked(b"5\r\nhello\r\n0\r\n\r\n"), body=b"hello"),
    Case("no chunk", chunked(b"0\r\n\r\n")),
    Case("three chunks", chunked(b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"), body=b"abcdef"),
    Case("size in capitals", chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), body=b"0123456789"),
    Case("size with zeros", chunked(b"0002\r\nab\r\n000\r\n\r\n"), body=b"ab"),
    Case("CRLF inside a chunk", chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), body=b"\r\n\r\n"),
    Case("short extension", chunked(b"2;a=b\r\nab\r\n0;c\r\n\r\n"), body=b"ab"),
    Case("quoted extension", chunked(b'2;a="x;y"\r\nab\r\n0\r\n\r\n'), body=b"ab"),
    Case("extension at its cap", chunked(b"2;" + b"e" * 255 + b"\r\nab\r\n0\r\n\r\n"), body=b"ab"),
    Case("trailer", chunked(b"2\r\nab\r\n0\r\nX-Sum: 1\r\nX-End: 2\r\n\r\n"), body=b"ab"),
    Case("coding in capitals", request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: Chunked",
                                       body=b"0\r\n\r\n")),
    Case("continue expected, body sent anyway",
         request(b"POST /x HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: 2",
                 body=b"ab"), body=b"ab"),
    Case("continue expected without a body", request(b"GET /x HTTP/1.1", HOST,
                                                     b"Expect: 100-Continue")),
    Case("other header ends in ength", request(b"POST /x HTTP/1.1", HOST, b"X-Strength: 7",
                                               b"Content-Length: 2", body=b"ab"), body=b"ab"),
    Case("empty X-Strength", request(b"GET /x HTTP/1.1", HOST, b"X-Strength: ")),
    Case("full X-Strength", request(b"GET /x HTTP/1.1", HOST, b"X-Strength: 7")),
)  # fmt: skip

REQUEST_LINES = (
    refused("garbage", b"\x00\x01\x02\x03\r\n\r\n", 400, "not_http"),
    refused("words", b"hello world\r\n\r\n", 400, "not_http"),
    refused("capital words", b"HELLO WORLD\r\n\r\n", 400, "http_0_9"),
    refused("TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
            400, "tls_on_plain_port"),
    refused("TLS bytes with line ends", b"\x16\x03\x01\r\n\r\n", 400, "tls_on_plain_port"),
    refused("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "method"),
    refused("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    refused("JSON", b'{"model":"x"}\r\n\r\n', 400, "not_http"),
    refused("only spaces", b"   \r\n\r\n", 400, "not_http"),
    refused("two empty lines before it", b"\r\n\r\n" + request(b"GET /x HTTP/1.1", HOST),
            400, "not_http"),
    refused("LF before it", b"\n" + request(b"GET /x HTTP/1.1", HOST), 400, "not_http"),
    bad_line("HTTP/0.9", b"GET /x", 400, "http_0_9"),
    bad_line("method alone", b"GET", 400, "request_line"),
    bad_line("no target", b"GET HTTP/1.1", 400, "http_0_9"),
    bad_line("version 2.0", b"GET /x HTTP/2.0", 505, "http_version"),
    bad_line("version 3.0", b"GET /x HTTP/3.0", 505, "http_version"),
    bad_line("version 1.2", b"GET /x HTTP/1.2", 505, "http_version"),
    bad_line("version 0.9", b"GET /x HTTP/0.9", 505, "http_version"),
    bad_line("version in small letters", b"GET /x http/1.1", 400, "request_line"),
    bad_line("version without a dot", b"GET /x HTTP/11", 400, "request_line"),
    bad_line("version of three numbers", b"GET /x HTTP/1.1.1", 400, "request_line"),
    bad_line("version with a plus", b"GET /x HTTP/+1.1", 400, "request_line"),
    bad_line("another protocol", b"GET /x ICY/1.1", 400, "request_line"),
    bad_line("space behind the version", b"GET /x HTTP/1.1 ", 400, "request_line"),
    bad_line("double space", b"GET  /x HTTP/1.1", 400, "target_bytes"),
    bad_line("double space before the version", b"GET /x  HTTP/1.1", 400, "target_bytes"),
    bad_line("tabs for spaces", b"GET\t/x\tHTTP/1.1", 400, "method"),
    bad_line("space first", b" GET /x HTTP/1.1", 400, "not_http"),
    bad_line("small method", b"get /x HTTP/1.1", 400, "not_http"),
    bad_line("mixed method", b"Get /x HTTP/1.1", 400, "method"),
    bad_line("method with a colon", b"GET: /x HTTP/1.1", 400, "method"),
    bad_line("method of 25 letters", b"A" * 25 + b" /x HTTP/1.1", 400, "method"),
    bad_line("method without end", b"A" * 500, 400, "method"),
    bad_line("CONNECT", b"CONNECT gate.test:443 HTTP/1.1", 501, "connect"),
    bad_line("CONNECT with a path", b"CONNECT /x HTTP/1.1", 501, "connect"),
    bad_line("OPTIONS *", b"OPTIONS * HTTP/1.1", 501, "target_asterisk"),
    bad_line("GET *", b"GET * HTTP/1.1", 400, "target_form"),
    bad_line("authority form", b"GET gate.test:80 HTTP/1.1", 400, "target_form"),
    bad_line("path without slash", b"GET x HTTP/1.1", 400, "target_form"),
    bad_line("query alone", b"GET ?a=b HTTP/1.1", 400, "target_form"),
    bad_line("fragment", b"GET /x#y HTTP/1.1", 400, "target_bytes"),
    bad_line("space in the target", b"GET /x y HTTP/1.1", 400, "target_bytes"),
    bad_line("NUL in the target", b"GET /x\x00 HTTP/1.1", 400, "target_bytes"),
    bad_line("DEL in the target", b"GET /x\x7f HTTP/1.1", 400, "target_bytes"),
    bad_line("UTF-8 in the target", "GET /é HTTP/1.1".encode(), 400, "target_bytes"),
    bad_line("CR in the target", b"GET /x\ry HTTP/1.1", 400, "bare_cr"),
    bad_line("64 KiB target", b"GET /" + b"a" * 65_536 + b" HTTP/1.1", 414, "target_too_long"),
    bad_line("target one over its cap", b"GET /" + b"a" * 8192 + b" HTTP/1.1", 414,
             "target_too_long"),
    bad_line("absolute form, other host", b"GET http://evil.test/x HTTP/1.1", 400, "target_host"),
    bad_line("absolute form, other port", b"GET http://gate.test:81/x HTTP/1.1", 400,
             "target_host"),
    bad_line("absolute form, https port on http", b"GET http://gate.test:443/x HTTP/1.1", 400,
             "target_host"),
    bad_line("absolute form with a user", b"GET http://gate.test@evil.test/x HTTP/1.1", 400,
             "target_form"),
    bad_line("absolute form, no host", b"GET http:///x HTTP/1.1", 400, "target_form"),
    bad_line("absolute form, ftp", b"GET ftp://gate.test/x HTTP/1.1", 400, "target_form"),
    bad_line("absolute form, fragment", b"GET http://gate.test/#x HTTP/1.1", 400, "target_bytes"),
    refused("absolute form, no Host", request(b"GET http://gate.test/x HTTP/1.1"), 400,
            "host_missing"),
)  # fmt: skip

HOSTS = (
    refused("no headers at all", request(b"GET /x HTTP/1.1"), 400, "host_missing"),
    bad_host("no Host", b"Accept: */*", code="host_missing"),
    bad_host("two Hosts", HOST, b"Host: evil.test", code="header_repeated"),
    bad_host("two equal Hosts", HOST, HOST, code="header_repeated"),
    bad_host("two Hosts, other case", HOST, b"hOsT: gate.test", code="header_repeated"),
    bad_host("empty Host", b"Host:"),
    bad_host("blank Host", b"Host:  \t"),
    bad_host("Host list", b"Host: gate.test, evil.test"),
    bad_host("Host with a path", b"Host: gate.test/x"),
    bad_host("Host with a user", b"Host: me@gate.test"),
    bad_host("Host with a scheme", b"Host: http://gate.test"),
    bad_host("Host with a space", b"Host: gate test"),
    bad_host("Host with a query", b"Host: gate.test?x"),
    bad_host("Host with a fragment", b"Host: gate.test#x"),
    bad_host("Host with a backslash", b"Host: gate.test\\x"),
    bad_host("Host with percent", b"Host: gate%2etest"),
    bad_host("Host with UTF-8", "Host: gäte.test".encode()),
    bad_host("Host with an empty port", b"Host: gate.test:"),
    bad_host("Host with a word as port", b"Host: gate.test:http"),
    bad_host("Host with a signed port", b"Host: gate.test:+80"),
    bad_host("Host with port 65536", b"Host: gate.test:65536"),
    bad_host("Host with two ports", b"Host: gate.test:80:80"),
    bad_host("Host port alone", b"Host: :80"),
    bad_host("Host IPv6 without brackets", b"Host: ::1"),
    bad_host("Host with an open bracket", b"Host: [::1"),
    bad_host("Host IPv6 of nonsense", b"Host: [1:2:3]"),
    bad_host("Host IPv6 with a zone", b"Host: [fe80::1%25eth0]"),
    bad_host("Host of 300 letters", b"Host: " + b"a" * 300),
    refused("HTTP/1.0 with a bad Host", request(b"GET /x HTTP/1.0", b"Host: a b"), 400,
            "host_grammar"),
)  # fmt: skip

HEADERS = (
    bad_header("fold with a space", b"X-A: b\r\n c", code="header_fold"),
    bad_header("fold with a tab and colon", b"X-A: b\r\n\tc: d", code="header_fold"),
    refused("fold in the first line", b"GET /x HTTP/1.1\r\n Host: gate.test\r\n\r\n", 400,
            "header_fold"),
    bad_header("space before the colon", b"X-A : b", code="header_name"),
    bad_header("tab before the colon", b"X-A\t: b", code="header_name"),
    bad_header("space before the length's colon", b"Content-Length : 0", code="header_name"),
    bad_header("space before the coding's colon", b"Transfer-Encoding : chunked",
               code="header_name"),
    bad_header("empty name", b": x", code="header_name"),
    bad_header("no colon", b"X-A", code="header_colon"),
    bad_header("parenthesis in a name", b"X(A): b", code="header_name"),
    bad_header("quote in a name", b'X"A: b', code="header_name"),
    bad_header("UTF-8 in a name", "Xé: b".encode(), code="header_name"),
    bad_header("NUL in a name", b"X\x00A: b", code="header_control"),
    bad_header("NUL in a value", b"X-A: b\x00c", code="header_control"),
    bad_header("NUL for a value", b"X-A: \x00", code="header_control"),
    bad_header("ESC in a value", b"X-A: \x1b[31m", code="header_control"),
    bad_header("DEL in a value", b"X-A: \x7f", code="header_control"),
    bad_header("vertical tab around a length", b"Content-Length: \x0b0", code="header_control"),
    bad_header("bare LF in a value", b"X-A: b\nX-B: c", code="bare_lf"),
    bad_header("bare LF before a coding", b"X-A: b\nTransfer-Encoding: chunked", code="bare_lf"),
    bad_header("bare CR in a value", b"X-A: b\rX-B: c", code="bare_cr"),
    bad_header("CR CR LF", b"X-A: b\r\r\nX-B: c", code="bare_cr"),
    bad_header("CR and LF apart", b"X-A: b\rc\nd", code="bare_lf"),
    refused("bare LF everywhere", b"GET /x HTTP/1.1\nHost: gate.test\n\n", 400, "bare_lf"),
    refused("bare LF after the first line", b"GET /x HTTP/1.1\nHost: gate.test\r\n\r\n", 400,
            "bare_lf"),
    refused("bare LF at the end", b"GET /x HTTP/1.1\r\nHost: gate.test\r\n\n\r\n\r\n", 400,
            "bare_lf"),
    refused("LF LF for the end", b"GET /x HTTP/1.1\r\nHost: gate.test\n\n", 400, "bare_lf"),
    bad_header("LF hidden behind a known length", b"X-Strength: a\nX: b", code="bare_lf"),
    bad_header("NUL hidden behind a known length", b"X-Strength: \x00", code="header_control"),
    bad_header("101 headers", *(b"X-%d: y" % n for n in range(100)), code="header_count",
               status=431),
    bad_header("1,000 headers", *(b"X-%d: y" % n for n in range(1000)), code="header_count",
               status=431),
    bad_header("1,000 equal headers", *([b"A: b"] * 1000), code="header_count", status=431),
    bad_header("64 KiB header", b"X-A: " + b"b" * 65_536, code="header_bytes", status=431),
    bad_header("64 KiB header name", b"A" * 65_536 + b": b", code="header_bytes", status=431),
    bad_header("two Content-Types", b"Content-Type: a/b", b"Content-Type: c/d",
               code="header_repeated"),
    bad_header("two Authorizations", b"Authorization: Bearer a", b"authorization: Bearer b",
               code="header_repeated"),
    bad_header("two x-api-keys", b"x-api-key: a", b"X-API-Key: a", code="header_repeated"),
    bad_header("two idempotency keys", b"Idempotency-Key: a", b"Idempotency-Key: b",
               code="header_repeated"),
    bad_header("other expectation", b"Expect: 200-ok", b"Content-Length: 0", code="expectation",
               status=417),
    bad_header("expectation list", b"Expect: 100-continue, x", b"Content-Length: 0",
               code="expectation", status=417),
)  # fmt: skip

FRAMING = (
    bad_header("length and chunked", b"Content-Length: 5", b"Transfer-Encoding: chunked",
               code="length_and_chunked"),
    bad_header("chunked and length", b"Transfer-Encoding: chunked", b"Content-Length: 5",
               code="length_and_chunked"),
    bad_header("length and identity", b"Content-Length: 5", b"Transfer-Encoding: identity",
               code="length_and_chunked"),
    bad_header("two lengths", b"Content-Length: 5", b"Content-Length: 6", code="header_repeated"),
    bad_header("two equal lengths", b"Content-Length: 5", b"Content-Length: 5",
               code="header_repeated"),
    bad_header("length list", b"Content-Length: 5, 5", code="length_grammar"),
    bad_header("length +5", b"Content-Length: +5", code="length_grammar"),
    bad_header("length -5", b"Content-Length: -5", code="length_grammar"),
    bad_header("length 0x5", b"Content-Length: 0x5", code="length_grammar"),
    bad_header("length 5_0", b"Content-Length: 5_0", code="length_grammar"),
    bad_header("length 5.0", b"Content-Length: 5.0", code="length_grammar"),
    bad_header("length 5e0", b"Content-Length: 5e0", code="length_grammar"),
    bad_header("length with a space inside", b"Content-Length: 5 0", code="length_grammar"),
    bad_header("length in Arabic digits", "Content-Length: ٥".encode(), code="length_grammar"),
    bad_header("length empty", b"Content-Length:", code="length_grammar"),
    bad_header("length a word", b"Content-Length: five", code="length_grammar"),
    bad_header("length quoted", b'Content-Length: "5"', code="length_grammar"),
    bad_header("length over the cap", b"Content-Length: 2097153", code="body_too_large",
               status=413),
    bad_header("length of 2^64", b"Content-Length: 18446744073709551616", code="body_too_large",
               status=413),
    bad_header("length of 5,000 digits", b"Content-Length: " + b"9" * 5000, code="body_too_large",
               status=413),
    bad_header("coding identity", b"Transfer-Encoding: identity", code="coding_unknown",
               status=501),
    bad_header("coding gzip", b"Transfer-Encoding: gzip", code="coding_unknown", status=501),
    bad_header("coding gzip, chunked", b"Transfer-Encoding: gzip, chunked", code="coding_unknown",
               status=501),
    bad_header("coding xchunked", b"Transfer-Encoding: xchunked", code="coding_unknown",
               status=501),
    bad_header("coding chunked, gzip", b"Transfer-Encoding: chunked, gzip", code="coding_grammar"),
    bad_header("coding chunked twice", b"Transfer-Encoding: chunked, chunked",
               code="coding_grammar"),
    bad_header("coding chunked, identity", b"Transfer-Encoding: chunked, identity",
               code="coding_grammar"),
    bad_header("coding with a comma", b"Transfer-Encoding: chunked,", code="coding_grammar"),
    bad_header("coding with a parameter", b"Transfer-Encoding: chunked;q=1",
               code="coding_grammar"),
    bad_header("coding empty", b"Transfer-Encoding:", code="coding_grammar"),
    bad_header("coding header twice", b"Transfer-Encoding: chunked",
               b"Transfer-Encoding: chunked", code="header_repeated"),
    bad_header("coding header twice, other first", b"Transfer-Encoding: identity",
               b"Transfer-Encoding: chunked", code="header_repeated"),
    bad_header("coding in quotes", b'Transfer-Encoding: "chunked"', code="coding_unknown",
               status=501),
    refused("chunked on HTTP/1.0", request(b"POST /x HTTP/1.0", HOST,
                                           b"Transfer-Encoding: chunked"), 400, "coding_http_1_0"),
)  # fmt: skip

CHUNKS = (
    bad_chunks("size with 0x", b"0x2\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size with a plus", b"+2\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size with a minus", b"-2\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size with an underscore", b"0_2\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size with a space before it", b" 2\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size with a space behind it", b"2 \r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size empty", b"\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size not hexadecimal", b"g\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size in UTF-8 digits", "２\r\nab\r\n0\r\n\r\n".encode(), "chunk_size"),
    bad_chunks("size of 17 digits", b"00000000000000002\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size line with bare LF", b"2\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("size line with bare CR", b"2\rab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("extension with bare LF", b"2;a\nab\r\n0\r\n\r\n", "chunk_extension"),
    bad_chunks("extension with NUL", b"2;a\x00\r\nab\r\n0\r\n\r\n", "chunk_extension"),
    bad_chunks("extension with space before it", b"2 ;a\r\nab\r\n0\r\n\r\n", "chunk_size"),
    bad_chunks("extension one over its cap", b"2;" + b"e" * 256 + b"\r\nab\r\n0\r\n\r\n",
               "chunk_extension"),
    bad_chunks("extension of 64 KiB", b"2;" + b"e" * 65_536 + b"\r\nab\r\n0\r\n\r\n",
               "chunk_extension"),
    bad_chunks("chunk longer than its size", b"2\r\nabc\r\n0\r\n\r\n", "chunk_end"),
    bad_chunks("chunk end is LF", b"2\r\nab\n0\r\n\r\n", "chunk_end"),
    bad_chunks("chunk end is CR", b"2\r\nab\r0\r\n\r\n", "chunk_end"),
    bad_chunks("chunk end missing", b"2\r\nab0\r\n\r\n", "chunk_end"),
    bad_chunks("chunk over the cap", b"200001\r\n", "body_too_large", 413),
    bad_chunks("chunk of 2^63", b"8000000000000000\r\n", "body_too_large", 413),
    bad_chunks("trailer without colon", b"0\r\nX-Sum\r\n\r\n", "trailer_grammar"),
    bad_chunks("trailer with bare LF", b"0\r\nX-Sum: 1\n\r\n", "trailer_grammar"),
    bad_chunks("trailer folded", b"0\r\nX-Sum: 1\r\n 2\r\n\r\n", "trailer_grammar"),
    bad_chunks("trailer with an empty name", b"0\r\n: 1\r\n\r\n", "trailer_grammar"),
    bad_chunks("trailer with NUL", b"0\r\nX-Sum: \x00\r\n\r\n", "trailer_grammar"),
    bad_chunks("trailer with space before colon", b"0\r\nX-Sum : 1\r\n\r\n", "trailer_grammar"),
    bad_chunks("trailer Content-Length", b"0\r\nContent-Length: 9\r\n\r\n", "trailer_forbidden"),
    bad_chunks("trailer Host", b"0\r\nHost: evil.test\r\n\r\n", "trailer_forbidden"),
    bad_chunks("trailer Authorization", b"0\r\nauthorization: Bearer x\r\n\r\n",
               "trailer_forbidden"),
    bad_chunks("trailer Transfer-Encoding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
               "trailer_forbidden"),
    bad_chunks("trailer X-Forwarded-For", b"0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
               "trailer_forbidden"),
    bad_chunks("trailers of 64 KiB", b"0\r\n" + b"X-Sum: 1\r\n" * 6554 + b"\r\n", "trailer_bytes",
               431),
    bad_chunks("trailer line of 64 KiB", b"0\r\nX: " + b"a" * 65_536 + b"\r\n\r\n",
               "trailer_bytes", 431),
)  # fmt: skip

CASES = (*SERVED, *REQUEST_LINES, *HOSTS, *HEADERS, *FRAMING, *CHUNKS)
