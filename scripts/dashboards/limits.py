"""Limits: which one refuses, who comes near, what the limiter itself needs."""

from __future__ import annotations

from typing import Any

from scripts.dashboards.board import Board, Line
from scripts.dashboards.colours import BAD, DOUBTFUL, GOOD, PLAIN, REFUSED
from scripts.dashboards.expressions import Scope, complement, share
from scripts.dashboards.overview import blocked_share

from tidegate.metrics.families import authentication, rate_limits, upstream

_NO_LIMITS = "no limits configured"


def limits() -> dict[str, Any]:
    """Return the dashboard about the gateway's own limits."""
    board = Board(
        "tidegate-limits",
        "Tidegate / Limits",
        "Decisions of each limit, those in shadow mode too, and the room that the limiter has.",
    )
    scope = Scope()
    _tiles(board, scope)
    _throughput(board, scope)
    _by_limit(board, scope)
    _limiter(board, scope)
    return board.build()


def _tiles(board: Board, scope: Scope) -> None:
    board.row("Now")
    board.tile(
        "Allowed per second",
        scope.rate(rate_limits.ALLOWED),
        [(None, GOOD)],
        unit="reqps",
        width=4,
    )
    board.tile(
        "Blocked per second",
        scope.rate(rate_limits.BLOCKED),
        [(None, GOOD), (0.01, DOUBTFUL), (10, REFUSED)],
        unit="reqps",
        width=4,
    )
    board.tile(
        "Passed their limits",
        complement(blocked_share(scope)),
        [(None, REFUSED), (0.9, DOUBTFUL), (0.99, GOOD)],
        note="An idle gateway refuses nobody.",
        decimals=2,
        width=4,
    )
    for title, decision, colour in (
        ("Near a limit, per second", "near", DOUBTFUL),
        ("Shadow limits would block, per second", "shadow", "purple"),
    ):
        board.tile(
            title,
            scope.rate(rate_limits.DECISIONS, where={"decision": f'="{decision}"'}).or_zero(),
            [(None, GOOD), (0.01, colour)],
            unit="reqps",
            width=4,
        )
    board.tile(
        "Limiter's table used",
        scope.value(rate_limits.TABLE_USED, how="max"),
        [(None, GOOD), (0.4, DOUBTFUL), (0.6, BAD)],
        note="The fullest instance.",
        width=4,
    )


def _throughput(board: Board, scope: Scope) -> None:
    board.row("All requests")
    board.graph(
        "Throughput: allowed and blocked",
        [
            Line(scope.rate(rate_limits.ALLOWED), "allowed"),
            Line(scope.rate(rate_limits.BLOCKED), "blocked"),
        ],
        unit="reqps",
        style="stack",
        width=12,
    )
    board.graph(
        "Limiting trend: share of requests blocked",
        [Line(blocked_share(scope).or_zero(), "blocked")],
        style="area",
        steps=[(0.1, BAD)],
        top=1,
        width=12,
    )


def _by_limit(board: Board, scope: Scope) -> None:
    board.row("By limit")
    decisions = rate_limits.DECISIONS
    for title, decision in (
        ("Blocked", "blocked"),
        ("Near: allowed with little left", "near"),
        ("Shadow: would have been blocked", "shadow"),
        ("Allowed", "allowed"),
    ):
        board.graph(
            title,
            [
                Line(
                    scope.rate(decisions, ["limit"], {"decision": f'="{decision}"'}).or_zero(),
                    "{{limit}}",
                )
            ],
            unit="reqps",
            idle=_NO_LIMITS,
            width=12,
        )
    board.graph(
        "Share of its requests that a limit blocks, or would",
        [
            Line(
                share(
                    scope.rate(decisions, ["limit"], {"decision": '=~"blocked|shadow"'}),
                    scope.rate(decisions, ["limit"], {"decision": '!="near"'}),
                ).or_zero(),
                "{{limit}}",
            )
        ],
        note="For choosing an amount: run a limit in shadow mode and look here first.",
        top=1,
        width=12,
        idle=_NO_LIMITS,
    )
    board.graph(
        "429 by us, 429 by providers",
        [
            Line(scope.rate(rate_limits.BLOCKED), "blocked"),
            Line(
                scope.rate(
                    upstream.UPSTREAM_REQUESTS, ["provider"], {"outcome": '="http_429"'}
                ).or_zero(),
                "by {{provider}}",
            ),
        ],
        unit="reqps",
        note="A provider's own limit is not one of ours, and is not counted as blocked.",
        width=12,
    )


def _limiter(board: Board, scope: Scope) -> None:
    board.row("The limiter itself")
    board.graph(
        "Table used",
        [Line(scope.value(rate_limits.TABLE_USED, ["instance"], how="max"), "{{instance}}")],
        top=1,
        steps=[(0.6, BAD)],
    )
    board.graph(
        "Subjects without room",
        [Line(scope.rate(rate_limits.TABLE_FULL, ["instance"]), "{{instance}}")],
    )
    board.graph(
        "Addresses held up for guessing keys",
        [
            Line(
                scope.rate(authentication.AUTH_FAILURES, ["instance"], {"reason": '="throttled"'}),
                "{{instance}}",
            )
        ],
        unit="reqps",
    )
    board.tile(
        "Blocked in this time",
        scope.increase(rate_limits.BLOCKED),
        [(None, PLAIN)],
        width=12,
        decimals=0,
        trend=False,
    )
    board.tile(
        "Allowed in this time",
        scope.increase(rate_limits.ALLOWED),
        [(None, PLAIN)],
        width=12,
        decimals=0,
        trend=False,
    )
