"""Which format of the page a scraper gets, by its `Accept` and `Accept-Encoding` headers."""

from __future__ import annotations

import re
from typing import NamedTuple

TEXT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPINGS = frozenset({b"underscores", b"dots", b"values", b"allow-utf-8"})
_MAX_HEADER = 4096
_QUALITY = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class Format(NamedTuple):
    """A form of the page: its content type, and whether it is OpenMetrics."""

    content_type: bytes
    openmetrics: bool


class _Range(NamedTuple):
    """One element of an Accept header."""

    name: bytes
    parameters: dict[bytes, bytes]
    quality: float


def choose_format(accept: bytes | None) -> Format:
    """Return OpenMetrics 1.0.0 where it is asked for and preferred, else the text format 0.0.4.

    A wildcard does not ask for OpenMetrics. Where both have the same quality, the one named
    first wins. A header that excludes both gets 0.0.4: a page is of more use than an error.
    """
    text = Format(TEXT_TYPE, openmetrics=False)
    if not accept or b"openmetrics" not in accept.lower():
        return text
    best = 0.0
    chosen = text
    for wanted in _ranges(accept):
        if wanted.quality <= best:
            continue
        version = wanted.parameters.get(b"version")
        if wanted.name == b"application/openmetrics-text":
            if version in (None, b"1.0.0"):
                best = wanted.quality
                chosen = Format(OPENMETRICS_TYPE + _escaping(wanted), openmetrics=True)
        elif wanted.name in (b"text/plain", b"text/*", b"*/*") and version in (None, b"0.0.4"):
            best, chosen = wanted.quality, text
    return chosen


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Return whether the client said that it takes gzip; `gzip;q=0` says that it does not."""
    if not accept_encoding:
        return False
    wildcard = False
    for wanted in _ranges(accept_encoding):
        if wanted.name in (b"gzip", b"x-gzip"):
            return wanted.quality > 0.0
        if wanted.name == b"*":
            wildcard = wanted.quality > 0.0
    return wildcard


def _escaping(wanted: _Range) -> bytes:
    """Return the `escaping` parameter to answer with: the one asked for, if it is a known one.

    Our names need no escaping, so all of them give the same bytes.
    """
    escaping = wanted.parameters.get(b"escaping", b"")
    return b"; escaping=" + escaping if escaping in _ESCAPINGS else b""


def _ranges(header: bytes) -> list[_Range]:
    """Split a list header; an element with a malformed quality counts as refused."""
    found = []
    for element in header[:_MAX_HEADER].lower().split(b","):
        name, *pairs = (part.strip() for part in element.split(b";"))
        if not name:
            continue
        parameters = {}
        for pair in pairs:
            key, _, value = pair.partition(b"=")
            parameters[key.strip()] = value.strip().strip(b'"')
        quality = parameters.pop(b"q", b"1")
        found.append(
            _Range(name, parameters, float(quality) if _QUALITY.fullmatch(quality) else 0.0)
        )
    return found
