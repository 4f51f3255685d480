"""Connections of clients."""

from __future__ import annotations

from tidegate.metrics.family import Family

CLIENT_DISCONNECTS = Family(
    "tidegate_client_disconnects_total",
    "counter",
    "Clients that left before the end: while sending their request, while a provider worked, "
    "in the middle of the answer.",
    labels=("phase",),
    values={"phase": frozenset({"request", "upstream", "answer"})},
    moves="when a request ends without its client",
)
CONNECTIONS = Family(
    "tidegate_connections",
    "gauge",
    "Client connections open, by whether a request is being served on them.",
    labels=("state",),
    values={"state": frozenset({"active", "idle"})},
    moves="each second",
)
EDGE_REFUSALS = Family(
    "tidegate_edge_refusals_total",
    "counter",
    "Requests refused before they had an endpoint, by the rule of the HTTP server that they broke.",
    labels=("reason",),
    max_series=200,
    moves="before the refusal leaves",
)
