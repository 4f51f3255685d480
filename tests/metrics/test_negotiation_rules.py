"""Which format a scraper gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.metrics.negotiate import accepts_gzip, choose_format

TEXT = b"text/plain; version=0.0.4; charset=utf-8"
OPEN = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
DEBIAN_PROMETHEUS_2_42 = (
    b"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    b"text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    b"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    b"application/openmetrics-text;version=0.0.1;q=0.4,"
    b"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,"
    b"*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        (b"", TEXT),
        (b"*/*", TEXT),
        (b"text/plain", TEXT),
        (b"text/plain;version=0.0.4", TEXT),
        (b"text/plain;version=1.0.0;escaping=allow-utf-8", TEXT),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (b"application/json", TEXT),
        (DEBIAN_PROMETHEUS_2_42, OPEN),
        (PROMETHEUS_3, OPEN + b"; escaping=allow-utf-8"),
        (b"application/openmetrics-text", OPEN),
        (b"Application/OpenMetrics-Text; Version=1.0.0", OPEN),
        (b'application/openmetrics-text; version="1.0.0"', OPEN),
        (
            b"application/openmetrics-text; version=1.0.0; escaping=underscores",
            OPEN + b"; escaping=underscores",
        ),
        (b"application/openmetrics-text; escaping=evil\x0b; q=1", OPEN),
        (b"application/openmetrics-text; version=2.0.0", TEXT),
        (b"application/openmetrics-text; version=9.9.9, text/plain", TEXT),
        (b"application/openmetrics-text; version=0.0.1", TEXT),
        (b"application/openmetrics-text;q=0, text/plain", TEXT),
        (b"application/openmetrics-text;q=0.000, text/plain;q=0.1", TEXT),
        (b"application/openmetrics-text;q=0.3, text/plain;q=0.7", TEXT),
        (b"text/plain;q=0.3, application/openmetrics-text;q=0.7", OPEN),
        (b"text/plain, application/openmetrics-text", TEXT),
        (b"application/openmetrics-text, text/plain", OPEN),
        (b"*/*, application/openmetrics-text;q=0.9", TEXT),
        (b"application/openmetrics-text;q=2", TEXT),
        (b"application/openmetrics-text;q=nan", TEXT),
        (b"application/openmetrics-text;q=-1", TEXT),
        (b"text/plain;q=0, application/openmetrics-text;q=0", TEXT),
        (b",;,;;=,application/openmetrics-text;;;", OPEN),
    ],
)
def test_the_format_is_the_preferred_one_that_we_speak(
    accept: bytes | None, expected: bytes
) -> None:
    """Qualities are honoured, unknown versions are not echoed, everything else is 0.0.4."""
    chosen = choose_format(accept)
    assert chosen.content_type == expected
    assert chosen.openmetrics is expected.startswith(OPEN)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"x-gzip", True),
        (b"deflate, gzip;q=0.5", True),
        (b"gzip;q=0", False),
        (b"gzip;q=0.000", False),
        (b"gzip; q=0, *", False),
        (b"*, gzip;q=0", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"identity", False),
        (b"br, zstd", False),
        (b"gzip;q=x", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: bytes | None, expected: bool) -> None:
    """`q=0` is a refusal, and a named coding wins over the wildcard."""
    assert accepts_gzip(header) is expected


@given(st.binary(max_size=300))
def test_no_header_breaks_the_negotiation(header: bytes) -> None:
    """Any bytes give one of the two formats, and nothing of them gets into the answer's header."""
    known = {TEXT, OPEN} | {
        OPEN + b"; escaping=" + name
        for name in (b"underscores", b"dots", b"values", b"allow-utf-8")
    }
    assert choose_format(header).content_type in known
    assert choose_format(b"application/openmetrics-text;" + header).content_type in known
    assert accepts_gzip(header) in (True, False)
