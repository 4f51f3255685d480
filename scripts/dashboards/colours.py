"""One colour for one meaning, on all dashboards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from scripts.dashboards.board import Line

GOOD = "green"
REFUSED = "orange"
BAD = "red"
DOUBTFUL = "yellow"
PLAIN = "blue"

#: Names of lines and of label values.
_BY_NAME = {
    "allowed": GOOD,
    "blocked": REFUSED,
    "near": DOUBTFUL,
    "shadow": "purple",
    "ok": GOOD,
    "applied": GOOD,
    "active": GOOD,
    "idle": PLAIN,
    "cancelled": "text",
    "client_gone": "text",
    "rate_limit_exceeded": REFUSED,
    "http_429": REFUSED,
    "http_4xx": DOUBTFUL,
    "http_5xx": BAD,
    "stream_cut": "dark-red",
    "upstream_error": BAD,
    "upstream_timeout": "purple",
    "internal_error": "dark-red",
    "timeout": "purple",
    "connect": "dark-red",
    "cut": "dark-orange",
    "refused": BAD,
    "input": PLAIN,
    "output": GOOD,
    "cached_input": "light-blue",
    "cache_write": "purple",
    "reasoning": "light-green",
    "provider": GOOD,
    "estimated": DOUBTFUL,
    "partial": REFUSED,
    "none": "text",
    "p50": "light-blue",
    "p95": PLAIN,
    "p99": "dark-blue",
}
#: Statuses are too many to name.
_STATUSES = (("/^[123]../", GOOD), ("/^4../", DOUBTFUL), ("/^429/", REFUSED), ("/^5../", BAD))


def fixed_colours(lines: Sequence[Line]) -> list[tuple[Literal["name", "regexp"], str, str]]:
    """Return (how it matches, what it matches, colour) for the lines that have a meaning."""
    found: dict[str, str] = {}
    for line in lines:
        label = re.fullmatch(r"\{\{(\w+)\}\}", line.legend)
        if label is None:
            names = {line.legend}
        elif label[1] == "status":
            return [("regexp", pattern, colour) for pattern, colour in _STATUSES]
        else:
            families = line.expression.families
            names = {name for family in families for name in family.values.get(label[1], ())}
        found |= {name: _BY_NAME[name] for name in sorted(names) if name in _BY_NAME}
    return [("name", name, colour) for name, colour in sorted(found.items())]
