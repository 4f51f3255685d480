"""Overview: is the gateway well, who is limited, what does it cost."""

from __future__ import annotations

from typing import Any

from scripts.dashboards.board import Board, Line
from scripts.dashboards.colours import BAD, DOUBTFUL, GOOD, PLAIN, REFUSED
from scripts.dashboards.expressions import Expression, Scope, complement, share

from tidegate.metrics.families import (
    authentication,
    clients,
    identities,
    rate_limits,
    requests,
    streams,
    usage,
    waste,
)

#: Ends that are not the caller's own doing. `upstream_refused` is the provider's 4xx about the
#: request itself, `ledger_full` is ours.
FAULTS = (
    '=~"stream_cut|upstream_error|upstream_timeout|service_unavailable|internal_error|ledger_full"'
)
_NO_IDENTITY = "no traffic, or metrics.identity_labels is off"


def overview() -> dict[str, Any]:
    """Return the dashboard that one opens first."""
    board = Board(
        "tidegate-overview",
        "Tidegate / Overview",
        "Requests, limits, latency, tokens and money of the gateway at a glance.",
    )
    scope = Scope()
    _tiles(board, scope)
    _limits(board, scope)
    _requests(board, scope)
    _money(board, scope)
    _refusals(board, scope)
    _identities(board, scope)
    return board.build()


def blocked_share(scope: Scope) -> Expression:
    """Return the share of requests at the limiter that it refused; none while idle."""
    blocked = scope.rate(rate_limits.BLOCKED)
    return share(blocked, scope.rate(rate_limits.ALLOWED).plus(blocked))


def _tiles(board: Board, scope: Scope) -> None:
    board.row("Now")
    faults = scope.rate(requests.REQUEST_OUTCOMES, where={"outcome": FAULTS})
    board.tile(
        "Requests per second",
        scope.rate(requests.REQUESTS).or_zero(),
        [(None, PLAIN)],
        unit="reqps",
    )
    board.tile(
        "Served without fault",
        complement(share(faults, scope.rate(requests.REQUEST_OUTCOMES))),
        [(None, BAD), (0.99, DOUBTFUL), (0.999, GOOD)],
        note="Requests that did not end in an error of the gateway or of a provider. A caller's "
        "own mistakes and refusals by limits do not lower it; a stream that was cut does.",
        decimals=2,
    )
    board.tile(
        "Passed their limits",
        complement(blocked_share(scope)),
        [(None, REFUSED), (0.9, DOUBTFUL), (0.99, GOOD)],
        note="Of the requests that reached the limiter. An idle gateway refuses nobody.",
        decimals=2,
    )
    board.tile(
        "Blocked per second",
        scope.rate(rate_limits.BLOCKED),
        [(None, GOOD), (0.01, DOUBTFUL), (10, REFUSED)],
        unit="reqps",
    )
    board.tile(
        "Duration, p95",
        scope.quantile(0.95, requests.REQUEST_DURATION),
        [(None, PLAIN)],
        note="Streams count to their last byte: read it beside the time to first token.",
    )
    board.tile(
        "Time to first token, p95",
        scope.quantile(0.95, streams.TIME_TO_FIRST_TOKEN),
        [(None, GOOD), (2.5, DOUBTFUL), (10, BAD)],
        idle="no streams",
    )
    board.tile(
        "Tokens per second",
        scope.rate(usage.TOKENS, where={"type": '=~"input|output"'}).or_zero(),
        [(None, PLAIN)],
        unit="short",
    )
    board.tile(
        "Cost per hour",
        scope.rate(usage.COST).times(3600).or_zero(),
        [(None, PLAIN)],
        note="At the pace of now.",
    )


def _limits(board: Board, scope: Scope) -> None:
    board.row("Rate limiting")
    board.graph(
        "Throughput: allowed and blocked",
        [
            Line(scope.rate(rate_limits.ALLOWED), "allowed"),
            Line(scope.rate(rate_limits.BLOCKED), "blocked"),
        ],
        unit="reqps",
        style="stack",
    )
    board.graph(
        "Limiting trend: share of requests blocked",
        [Line(blocked_share(scope).or_zero(), "blocked")],
        style="area",
        steps=[(0.1, BAD)],
        top=1,
    )
    board.graph(
        "Refused, or nearly",
        [
            Line(
                scope.rate(
                    rate_limits.DECISIONS, ["limit", "decision"], {"decision": '!="allowed"'}
                ).or_zero(),
                "{{limit}} {{decision}}",
            )
        ],
        unit="reqps",
        note="By limit. What is near today is blocked tomorrow.",
        idle="no limits met",
    )


def _requests(board: Board, scope: Scope) -> None:
    board.row("Requests")
    board.graph(
        "Rate by status",
        [Line(scope.rate(requests.REQUESTS, ["status"]).or_zero(), "{{status}}")],
        unit="reqps",
        style="stack",
    )
    board.graph(
        "Errors by outcome",
        [
            Line(
                scope.rate(requests.REQUEST_OUTCOMES, ["outcome"], {"outcome": '!="ok"'}).or_zero(),
                "{{outcome}}",
            )
        ],
        unit="reqps",
        style="stack",
    )
    board.graph(
        "Duration",
        [
            Line(scope.quantile(0.5, requests.REQUEST_DURATION), "p50"),
            Line(scope.quantile(0.95, requests.REQUEST_DURATION), "p95", exemplars=True),
            Line(scope.quantile(0.99, requests.REQUEST_DURATION), "p99"),
        ],
        note="Dots are single requests, if Prometheus stores exemplars.",
    )
    board.graph(
        "Time to first token",
        [
            Line(scope.quantile(0.5, streams.TIME_TO_FIRST_TOKEN), "p50"),
            Line(scope.quantile(0.95, streams.TIME_TO_FIRST_TOKEN), "p95", exemplars=True),
            Line(scope.quantile(0.99, streams.TIME_TO_FIRST_TOKEN), "p99"),
        ],
        idle="no streams",
    )
    board.graph(
        "Added by the gateway itself",
        [
            Line(scope.quantile(0.5, requests.OVERHEAD), "p50"),
            Line(scope.quantile(0.99, requests.OVERHEAD), "p99"),
        ],
    )
    board.graph(
        "In flight",
        [Line(scope.value(requests.REQUESTS_IN_FLIGHT, ["instance"]), "{{instance}}")],
        style="stack",
    )


def _money(board: Board, scope: Scope) -> None:
    board.row("Tokens and money")
    board.graph(
        "Tokens per second by type",
        [Line(scope.rate(usage.TOKENS, ["type"]).or_zero(), "{{type}}")],
        unit="short",
    )
    board.graph(
        "Tokens per second by model",
        [
            Line(
                scope.rate(usage.TOKENS, ["model"], {"type": '=~"input|output"'}).or_zero(),
                "{{model}}",
            )
        ],
        unit="short",
        style="stack",
    )
    board.graph(
        "Cost per hour by model",
        [
            Line(
                scope.rate(usage.COST, ["provider", "model"]).times(3600).or_zero(),
                "{{provider}} {{model}}",
            )
        ],
        style="stack",
    )
    board.graph(
        "Wasted per hour by cause",
        [Line(scope.rate(waste.WASTED_COST, ["cause"]).times(3600).or_zero(), "{{cause}}")],
        style="stack",
        note="Paid for answers that nobody got whole.",
    )
    board.graph(
        "Where token counts come from",
        [Line(scope.rate(usage.USAGE_SOURCE, ["source"]), "{{source}}")],
        style="stack",
        note="What is not from the provider is less exact, and so is its cost.",
    )
    board.graph(
        "Attempts without a price",
        [
            Line(
                scope.rate(usage.UNPRICED, ["provider", "model"]).or_zero(),
                "{{provider}} {{model}}",
            )
        ],
        unit="reqps",
        note="Give these models a price (`ledger.prices`): their cost is missing.",
    )


def _refusals(board: Board, scope: Scope) -> None:
    board.row("Refused and left")
    board.graph(
        "Without a valid key",
        [Line(scope.rate(authentication.AUTH_FAILURES, ["reason"]), "{{reason}}")],
        unit="reqps",
        style="stack",
        note="Much of `unknown` or `throttled` is somebody guessing keys.",
    )
    board.graph(
        "Refused by the HTTP server",
        [Line(scope.rate(clients.EDGE_REFUSALS, ["reason"]).or_zero(), "{{reason}}")],
        unit="reqps",
        style="stack",
    )
    board.graph(
        "Clients that left",
        [Line(scope.rate(clients.CLIENT_DISCONNECTS, ["phase"]), "{{phase}}")],
        unit="reqps",
        style="stack",
    )


def _identities(board: Board, scope: Scope) -> None:
    board.row("By key and team, with metrics.identity_labels")
    board.graph(
        "Requests by key",
        [
            Line(
                scope.rate(identities.KEY_REQUESTS, ["team", "key"]).top(10),
                "{{team}} {{key}}",
            )
        ],
        unit="reqps",
        idle=_NO_IDENTITY,
    )
    board.graph(
        "Tokens per second by key",
        [
            Line(
                scope.rate(
                    identities.KEY_TOKENS, ["team", "key"], {"type": '=~"input|output"'}
                ).top(10),
                "{{team}} {{key}}",
            )
        ],
        unit="short",
        idle=_NO_IDENTITY,
    )
    board.graph(
        "Cost per hour by key",
        [
            Line(
                scope.rate(identities.KEY_COST, ["team", "key"]).times(3600).top(10),
                "{{team}} {{key}}",
            )
        ],
        idle=_NO_IDENTITY,
    )
