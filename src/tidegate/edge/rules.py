"""Every rule of the edge in one table: what is refused, and with which status.

`edge.head` and `edge.chunked` hold the checks and name the rule that a request broke.
A configuration can raise the caps behind a rule, never drop the rule. Each row has at
least one raw-bytes case in `tests/edge/cases.py`, and a test that says so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to refuse a request.

    Attributes:
        name: Stable, closed set: the error's `code` and a metric label.
        status: HTTP status of the answer. The connection is closed after it.
        refuses: What is wrong, a sentence for the client.
    """

    name: str
    status: int
    refuses: str


class Refusal(Exception):
    """A request breaks *rule*. Raised by the checks, answered by the connection."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.name)
        self.rule = rule


_TABLE = (
    # name, status, what is refused
    # The request line
    ("not_http", 400, "The connection does not start with an HTTP request line."),
    ("tls_on_plain_port", 400, "This port speaks plain HTTP, not TLS."),
    ("request_line", 400, "The request line is not METHOD SP TARGET SP HTTP/1.x."),
    ("http_0_9", 400, "HTTP/0.9 requests are not served."),
    ("http_version", 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
    ("method", 400, "The method is not a word of up to 24 upper-case letters."),
    ("connect", 501, "CONNECT is not served: this is not a forward proxy."),
    ("target_too_long", 414, "The request target is too long."),
    ("target_bytes", 400, "The target holds a space, a control, a non-ASCII byte or a '#'."),
    ("target_form", 400, "The target is neither a path nor an absolute http(s) URL."),
    ("target_asterisk", 501, "OPTIONS * is not served; ask for a path."),
    ("target_host", 400, "The absolute target names another host than Host."),
    # Header lines
    ("header_bytes", 431, "The request line and headers together are too long."),
    ("header_count", 431, "There are too many header lines."),
    ("bare_lf", 400, "A line ends in LF without CR."),
    ("bare_cr", 400, "A CR stands without its LF."),
    ("header_control", 400, "A header holds a control character."),
    ("header_fold", 400, "A header line starts with a space or tab (obsolete folding)."),
    ("header_colon", 400, "A header line has no colon."),
    ("header_name", 400, "A header name is empty or holds a character that is not allowed."),
    ("header_repeated", 400, "A header that may stand once stands twice."),
    # Host
    ("host_missing", 400, "An HTTP/1.1 request needs exactly one Host header."),
    ("host_grammar", 400, "The Host header is not a host name or address with optional port."),
    # Framing. Unknown codings are 501 as RFC 9112 6.1 advises; where the end of the body
    # would be a guess (chunked not alone, with a length, on HTTP/1.0) the answer is 400.
    ("length_grammar", 400, "Content-Length is not a plain decimal number."),
    ("length_and_chunked", 400, "Content-Length and Transfer-Encoding exclude each other."),
    ("coding_unknown", 501, "The only transfer coding served is chunked."),
    ("coding_grammar", 400, "Transfer-Encoding must be the one word chunked, once."),
    ("coding_http_1_0", 400, "HTTP/1.0 has no Transfer-Encoding."),
    ("body_too_large", 413, "The request body is too large."),
    ("expectation", 417, "The only expectation served is 100-continue."),
    # Chunked bodies
    ("chunk_size", 400, "A chunk size is not a plain hexadecimal number."),
    ("chunk_extension", 400, "A chunk extension is too long or holds a control character."),
    ("chunk_end", 400, "A chunk is not followed by CRLF."),
    ("trailer_grammar", 400, "A trailer line is not NAME: VALUE CRLF."),
    ("trailer_forbidden", 400, "A trailer repeats a header that frames, routes or authenticates."),
    ("trailer_bytes", 431, "The trailers are too long."),
    # Time
    ("header_timeout", 408, "The request line and headers came too slowly."),
    ("body_timeout", 408, "The request body came too slowly."),
)

RULES: dict[str, Rule] = {name: Rule(name, status, text) for name, status, text in _TABLE}
"""All rules by name, in the table's order."""


def refusal(name: str) -> Refusal:
    """Return the exception for the rule called *name*, ready to raise."""
    return Refusal(RULES[name])
