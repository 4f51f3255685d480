"""Providers: which one fails, which is slow, what is left of their own limits."""

from __future__ import annotations

from typing import Any

from scripts.dashboards.board import Board, Line
from scripts.dashboards.colours import BAD, DOUBTFUL, GOOD, PLAIN
from scripts.dashboards.expressions import Scope, complement, share

from tidegate.metrics.families import dialects, quotas, requests, streams, upstream, usage, waste

#: The caller's mistakes (http_4xx) and callers that left (cancelled) are not the provider's.
FAILED = '!~"ok|http_4xx|cancelled"'
_NO_QUOTA = "no provider has told its limits in the last two minutes"
_TARGET = ["provider", "model"]
#: A fallback's model is the name that clients use, not the one that a provider uses.
_ALL = Scope()
_NOT_NARROWED = "Of all models: the choice above is of the names that providers use."
_LEGEND = "{{provider}} {{model}}"


def providers() -> dict[str, Any]:
    """Return the dashboard about what is behind the gateway."""
    board = Board(
        "tidegate-providers",
        "Tidegate / Providers",
        "Failures, pace, retries, fallbacks, quotas and waste by provider and model.",
        filters=("provider", "model"),
    )
    scope = Scope(("provider", "model"))
    _tiles(board, scope)
    _failures(board, scope)
    _pace(board, scope)
    _quotas(board, scope)
    _money(board, scope)
    return board.build()


def _tiles(board: Board, scope: Scope) -> None:
    board.row("Now")
    attempts = scope.rate(upstream.UPSTREAM_REQUESTS)
    failed = scope.rate(upstream.UPSTREAM_REQUESTS, where={"outcome": FAILED})
    board.tile("Attempts per second", attempts.or_zero(), [(None, PLAIN)], unit="reqps", width=4)
    board.tile(
        "Attempts without fault",
        complement(share(failed, attempts)),
        [(None, BAD), (0.95, DOUBTFUL), (0.99, GOOD)],
        note="Further attempts hide many faults from clients; this counts each.",
        decimals=2,
        width=4,
    )
    board.tile(
        "Retries per second",
        scope.rate(upstream.UPSTREAM_RETRIES).or_zero(),
        [(None, GOOD), (0.1, DOUBTFUL), (1, BAD)],
        width=4,
    )
    board.tile(
        "Fallbacks per second",
        _ALL.rate(upstream.FALLBACKS).or_zero(),
        [(None, GOOD), (0.1, DOUBTFUL), (1, BAD)],
        note=_NOT_NARROWED,
        width=4,
    )
    board.tile(
        "Time to first token, p95",
        scope.quantile(0.95, streams.TIME_TO_FIRST_TOKEN),
        [(None, GOOD), (2.5, DOUBTFUL), (10, BAD)],
        idle="no streams",
        width=4,
    )
    board.tile(
        "Wasted in this time",
        scope.increase(waste.WASTED_COST).or_zero(),
        [(None, PLAIN)],
        width=4,
        trend=False,
    )


def _failures(board: Board, scope: Scope) -> None:
    board.row("Failures")
    board.graph(
        "Attempts by outcome",
        [Line(scope.rate(upstream.UPSTREAM_REQUESTS, ["outcome"]).or_zero(), "{{outcome}}")],
        unit="reqps",
        style="stack",
    )
    board.graph(
        "Share of attempts that failed, by provider",
        [
            Line(
                share(
                    scope.rate(upstream.UPSTREAM_REQUESTS, ["provider"], {"outcome": FAILED}),
                    scope.rate(upstream.UPSTREAM_REQUESTS, ["provider"]),
                ).or_zero(),
                "{{provider}}",
            )
        ],
        note="The caller's own mistakes (http_4xx) and callers that left (cancelled) do not count.",
        top=1,
        steps=[(0.1, BAD)],
    )
    board.graph(
        "Failures by target",
        [
            Line(
                scope.rate(
                    upstream.UPSTREAM_REQUESTS,
                    [*_TARGET, "outcome"],
                    {"outcome": FAILED},
                ).or_zero(),
                "{{provider}} {{model}} {{outcome}}",
            )
        ],
        unit="reqps",
    )
    board.graph(
        "Requests that nobody answered, by model",
        [
            Line(
                share(
                    _ALL.rate(requests.MODEL_REQUESTS, ["model"], {"outcome": '="failed"'}),
                    _ALL.rate(requests.MODEL_REQUESTS, ["model"]),
                ).or_zero(),
                "{{model}}",
            )
        ],
        note=_NOT_NARROWED,
        top=1,
        steps=[(0.05, BAD)],
    )
    board.graph(
        "Retries by reason",
        [
            Line(
                scope.rate(upstream.UPSTREAM_RETRIES, ["provider", "reason"]).or_zero(),
                "{{provider}} {{reason}}",
            )
        ],
        unit="reqps",
        style="stack",
        idle="no retries",
    )
    board.graph(
        "Fallbacks by reason",
        [
            Line(
                _ALL.rate(upstream.FALLBACKS, ["model", "reason"]).or_zero(),
                "{{model}} {{reason}}",
            )
        ],
        note=_NOT_NARROWED,
        unit="reqps",
        style="stack",
        idle="no fallbacks",
    )
    board.graph(
        "Fields lost in translation",
        [
            Line(
                _ALL.rate(dialects.FIDELITY, ["dialect_in", "dialect_out", "field"]).or_zero(),
                "{{dialect_in}} → {{dialect_out}} {{field}}",
            )
        ],
        idle="nothing lost",
    )


def _pace(board: Board, scope: Scope) -> None:
    board.row("Pace")
    for title, family, quantile, idle, note in (
        ("Length of attempts, p95", upstream.UPSTREAM_DURATION, 0.95, "no traffic", ""),
        ("Time to first token, p95", streams.TIME_TO_FIRST_TOKEN, 0.95, "no streams", ""),
        (
            "Between two pieces of a stream, p95",
            streams.INTER_TOKEN,
            0.95,
            "no streams",
            "",
        ),
        (
            "Output tokens per second, median",
            streams.OUTPUT_RATE,
            0.5,
            "no answers with usage",
            "Half of the answers come at least this fast.",
        ),
    ):
        board.graph(
            title,
            [Line(scope.quantile(quantile, family, _TARGET), _LEGEND)],
            note=note,
            idle=idle,
            width=12,
        )


def _quotas(board: Board, scope: Scope) -> None:
    board.row("Connections, and the providers' own limits on us")
    board.graph(
        "Connections",
        [
            Line(
                scope.value(upstream.UPSTREAM_CONNECTIONS, ["provider", "state"]).or_zero(),
                "{{provider}} {{state}}",
            )
        ],
        style="stack",
        idle="none open",
    )
    kinds = [*_TARGET, "kind"]
    board.graph(
        "Left of a provider's limit",
        [
            Line(
                share(
                    scope.value(quotas.QUOTA_REMAINING, kinds, how="min"),
                    scope.value(quotas.QUOTA_LIMIT, kinds, how="max"),
                ),
                "{{provider}} {{model}} {{kind}}",
            )
        ],
        note="The least of all instances: they share one account.",
        top=1,
        idle=_NO_QUOTA,
    )
    board.graph(
        "Left of a provider's limit, absolute",
        [
            Line(
                scope.value(quotas.QUOTA_REMAINING, kinds, how="min"),
                "{{provider}} {{model}} {{kind}}",
            )
        ],
        idle=_NO_QUOTA,
    )


def _money(board: Board, scope: Scope) -> None:
    board.row("Tokens and money")
    board.graph(
        "Tokens per second",
        [
            Line(
                scope.rate(usage.TOKENS, [*_TARGET, "type"]).or_zero(),
                "{{provider}} {{model}} {{type}}",
            )
        ],
        unit="short",
    )
    board.graph(
        "Cost per hour",
        [Line(scope.rate(usage.COST, _TARGET).times(3600).or_zero(), _LEGEND)],
        style="stack",
    )
    board.graph(
        "Wasted tokens per second, by cause",
        [
            Line(
                scope.rate(waste.WASTED_TOKENS, ["provider", "cause"]).or_zero(),
                "{{provider}} {{cause}}",
            )
        ],
        unit="short",
        style="stack",
    )
