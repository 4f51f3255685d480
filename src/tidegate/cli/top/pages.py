"""The five pages of `tidegate top`: a board becomes lines of a width."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from typing import Final, Literal, NamedTuple

from tidegate.cli.top.board import Board
from tidegate.cli.top.figures import (
    NOTHING,
    count,
    cut,
    merged,
    percent,
    plain,
    quantity,
    seconds,
    size,
    spark,
)
from tidegate.cli.top.layout import Column, Line, Piece, table
from tidegate.control.live.answers import AlertRow, LimitTotals, RequestRow

CHART_ROWS: Final = 2
CHART_LABEL: Final = 22
TILE_WIDTH: Final = 19
SMALL_WIDTH: Final = 15
SETTLED_S: Final = 5
"""Rates are the mean of so many seconds: one second alone jumps too much to be read."""
RECENT_S: Final = 30
"""Latencies are the newest of so many seconds: not every second has a request."""

_SEVERITIES: Final = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


class Chart(NamedTuple):
    """A line over the quarter of an hour."""

    title: str
    name: str
    show: Callable[[float | None], str]
    style: str
    how: Literal["mean", "highest"] = "mean"


CHARTS: Final = (
    Chart("allowed", "allowed", lambda value: quantity(value, "/s"), "green"),
    Chart("blocked", "blocked", lambda value: quantity(value, "/s"), "yellow"),
    Chart("latency p95", "latency_p95_s", seconds, "cyan", "highest"),
    Chart("output tokens", "tokens_output", lambda value: quantity(value, "/s"), "magenta"),
)


def rate(board: Board, by: str, name: str, label: str = "") -> float | None:
    """Return the mean of the last seconds; None where nothing was read."""
    some = [value for value in board.values(by, name, label)[-SETTLED_S:] if value is not None]
    return sum(some) / len(some) if some else None


def recent(board: Board, by: str, name: str, label: str = "") -> float | None:
    """Return the newest value that there is, unless it is too old."""
    for value in reversed(board.values(by, name, label)[-RECENT_S:]):
        if value is not None:
            return value
    return None


def head(board: Board, width: int, *, paused: bool) -> Line:
    """Return the line above all pages: who, which version, since when, how it goes."""
    instance = board.instance
    if instance is None:
        return [(" tidegate ", "bold"), (cut(plain(board.status.text), width - 10), "yellow")]
    ready = sum(worker.state == "ready" for worker in instance.workers)
    uptime_s = max(instance.uptime_s, (board.time_ms - instance.started_ms) / 1000)
    state: Piece = ("ready", "green") if instance.ready else ("not ready", "bold red")
    firing = sum(alert.state == "firing" for alert in board.alerts.alerts)
    line: Line = [
        (f" {cut(plain(instance.name), 20)} ", "bold"),
        (f"{plain(instance.version)}  ", "dim"),
        state,
        (f"  {ready}/{len(instance.workers)} workers  up {seconds(uptime_s)}  ", ""),
        (f"{firing} alert{'' if firing == 1 else 's'}  ", "bold red" if firing else "dim"),
    ]
    if paused:
        line.append(("paused", "bold yellow"))
    elif board.status.is_live:
        line.append((time.strftime("%H:%M:%S", time.localtime(board.time_ms / 1000)), "dim"))
    else:
        line.append((plain(board.status.text), "bold yellow"))
    return _fitted(line, width)


def _fitted(line: Line, width: int) -> Line:
    fitted: Line = []
    for text, style in line:
        fitted.append((cut(text, width), style))
        width -= len(fitted[-1][0])
    return fitted


def overview(board: Board, width: int) -> list[Line]:
    """Return tiles, charts, alerts and workers."""
    lines = _tiles(board, width)
    lines.append([])
    for chart in CHARTS:
        lines += _chart(board, chart, width)
    lines += [[], *_alerts(board, width), [], *_workers(board, width)]
    return lines


def _tiles(board: Board, width: int) -> list[Line]:
    success = recent(board, "total", "success_ratio")
    shown: list[tuple[str, str, str]] = [
        ("requests", quantity(rate(board, "total", "requests"), "/s"), "bold"),
        ("success", percent(success), "bold" if success is None or success > 0.99 else "bold red"),
        ("latency p50", seconds(recent(board, "total", "latency_p50_s")), "bold"),
        ("first token p95", seconds(recent(board, "total", "ttft_p95_s")), "bold"),
        ("in flight", _count(board.now("total", "in_flight")), "bold"),
        ("overhead p50", seconds(recent(board, "total", "overhead_p50_s")), "bold"),
        ("input tokens", quantity(rate(board, "total", "tokens_input"), "/s"), "bold"),
        ("cost", quantity(rate(board, "total", "cost_usd"), "$/h"), "bold"),
    ]
    each = max(1, width // TILE_WIDTH)
    lines: list[Line] = []
    for first in range(0, len(shown), each):
        row = shown[first : first + each]
        lines.append([(title.ljust(TILE_WIDTH), "dim") for title, _, _ in row])
        lines.append([(figure.ljust(TILE_WIDTH), style) for _, figure, style in row])
    return lines


def _count(value: float | None) -> str:
    return NOTHING if value is None else count(round(value))


def _chart(board: Board, chart: Chart, width: int) -> list[Line]:
    values = board.values("total", chart.name)[board.begin :]
    columns = merged(values, max(1, width - CHART_LABEL), chart.how)
    current = recent if chart.how == "highest" else rate
    labels = (
        f"{chart.title:<14}",
        f" {chart.show(current(board, 'total', chart.name))}",
    )
    styles = ("dim", "bold")
    return [
        [(label.ljust(CHART_LABEL), style), (blocks, chart.style)]
        for label, style, blocks in zip(labels, styles, spark(columns, CHART_ROWS), strict=True)
    ]


def _alerts(board: Board, width: int) -> list[Line]:
    alerts = sorted(
        board.alerts.alerts,
        key=lambda alert: (alert.state != "firing", list(_SEVERITIES).index(alert.severity)),
    )
    if not alerts:
        rules = len(board.alerts.rules)
        return [[("alerts", "dim"), (f"  none of {rules} rules fires" if rules else "  none", "")]]
    return [[("alerts", "dim")], *(_alert(board, alert, width) for alert in alerts)]


def _alert(board: Board, alert: AlertRow, width: int) -> Line:
    style = _SEVERITIES[alert.severity] if alert.state == "firing" else "dim"
    since = seconds(max(0.0, (board.time_ms - alert.since_ms) / 1000))
    labels = " ".join(f"{name}={value}" for name, value in alert.labels.items())
    text = f"{plain(alert.summary)} {plain(labels)}".strip()
    return _fitted(
        [
            (f" {alert.severity:<9}", style),
            (f"{alert.state:<8} {since:>8}  ", "dim"),
            (plain(alert.name), style),
            (f"  {text}", ""),
        ],
        width,
    )


def _workers(board: Board, width: int) -> list[Line]:
    columns = (
        Column("worker"), Column("state"), Column("conns", is_number=True),
        Column("running", is_number=True), Column("cpu", is_number=True),
        Column("memory", is_number=True), Column("loop lag", is_number=True),
        Column("restarts", is_number=True, drop=1),
    )  # fmt: skip
    rows: list[list[Piece]] = []
    for worker in board.instance.workers if board.instance is not None else []:
        name = str(worker.worker)
        rows.append(
            [
                (name, ""),
                (worker.state, "green" if worker.state == "ready" else "yellow"),
                (_count(board.now("worker", "connections", name)), ""),
                (str(worker.in_flight), ""),
                (percent(rate(board, "worker", "cpu_ratio", name)), ""),
                (size(board.now("worker", "memory_bytes", name)), ""),
                (seconds(board.now("worker", "loop_lag_s", name)), ""),
                (str(worker.restarts), "yellow" if worker.restarts else ""),
            ]
        )
    return table(columns, rows, width)


def providers(board: Board, width: int) -> list[Line]:
    """Return traffic, errors and latency by provider and by model."""
    return [*_upstreams(board, "provider", width), [], *_upstreams(board, "model", width)]


def _upstreams(board: Board, by: str, width: int) -> list[Line]:
    columns = (
        Column(by, least=12), Column("req/s", is_number=True), Column("err/s", is_number=True),
        Column("p50", is_number=True, drop=2), Column("p95", is_number=True),
        Column("ttft p95", is_number=True, drop=1), Column("tokens/s", is_number=True, drop=3),
        Column("$/h", is_number=True, drop=4), Column("15 min", drop=5),
    )  # fmt: skip
    rows: list[list[Piece]] = []
    for label in board.labels(by):
        errors = rate(board, by, "errors", label)
        rows.append(
            [
                (plain(label), "bold"),
                (quantity(rate(board, by, "requests", label)), ""),
                (quantity(errors), "bold red" if errors else ""),
                (seconds(recent(board, by, "latency_p50_s", label)), ""),
                (seconds(recent(board, by, "latency_p95_s", label)), ""),
                (seconds(recent(board, by, "ttft_p95_s", label)), ""),
                (quantity(rate(board, by, "tokens_output", label)), ""),
                (quantity(rate(board, by, "cost_usd", label)), ""),
                (_small(board, by, label), "green"),
            ]
        )
    return [*table(columns, rows, width), *_empty(rows, f"no {by} was asked in 15 minutes")]


def _small(board: Board, by: str, label: str) -> str:
    """Return a chart of requests that fits into a table."""
    values = board.values(by, "requests", label)[board.begin :]
    return spark(merged(values, SMALL_WIDTH, "mean"))[0]


def _empty(rows: list[list[Piece]], text: str) -> list[Line]:
    return [] if rows else [[(text, "dim")]]


def keys(board: Board, width: int) -> list[Line]:
    """Return what each key uses."""
    columns = (
        Column("key", least=12), Column("req/s", is_number=True),
        Column("input tokens/s", is_number=True), Column("output tokens/s", is_number=True),
        Column("$/h", is_number=True), Column("15 min", drop=1),
    )  # fmt: skip
    rows: list[list[Piece]] = [
        [
            (plain(label), "bold"),
            (quantity(rate(board, "key", "requests", label)), ""),
            (quantity(rate(board, "key", "tokens_input", label)), ""),
            (quantity(rate(board, "key", "tokens_output", label)), ""),
            (quantity(rate(board, "key", "cost_usd", label)), ""),
            (_small(board, "key", label), "green"),
        ]
        for label in board.labels("key")
    ]
    return [*table(columns, rows, width), *_empty(rows, "no key was used in 15 minutes")]


def limits(board: Board, width: int) -> list[Line]:
    """Return what each limit decided, and who has used most of one."""
    columns = (
        Column("limit", least=12), Column("per"), Column("rule", drop=3), Column("mode", drop=2),
        Column("allowed", is_number=True), Column("blocked", is_number=True),
        Column("near", is_number=True), Column("shadow", is_number=True, drop=1),
        Column("blocked/s", is_number=True, drop=4),
    )  # fmt: skip
    rows: list[list[Piece]] = [
        [
            (plain(limit.name), "bold"),
            (plain(limit.per), ""),
            (_rule(limit), "dim"),
            (plain(limit.mode), "dim" if limit.mode == "enforce" else "yellow"),
            (count(limit.allowed_total), ""),
            (count(limit.blocked_total), "yellow" if limit.blocked_total else ""),
            (count(limit.near_total), ""),
            (count(limit.shadow_total), ""),
            (quantity(rate(board, "limit", "blocked", limit.name)), ""),
        ]
        for limit in board.limits.limits
    ]
    shown = [*table(columns, rows, width), *_empty(rows, "no limit is configured")]
    return [*shown, [], *_near(board, width)]


def _rule(limit: LimitTotals) -> str:
    if limit.requests is None:
        return f"{limit.burst} at once"
    window_s = limit.window_s or 0.0
    burst = f" burst {limit.burst}" if limit.burst != limit.requests else ""
    return f"{limit.requests} in {seconds(window_s)}{burst}"


def _near(board: Board, width: int) -> list[Line]:
    bar_width = 12
    columns = (
        Column("who", least=10), Column("limit", least=8), Column("used", drop=1),
        Column("", is_number=True), Column("left", is_number=True),
        Column("full again in", is_number=True),
    )  # fmt: skip
    rows: list[list[Piece]] = []
    for subject in board.limits.subjects:
        ratio = subject.used_ratio
        style = "bold red" if ratio >= 1.0 else "yellow" if ratio >= 0.8 else "green"
        filled = min(bar_width, int(ratio * bar_width))
        rows.append(
            [
                (plain(subject.subject), "bold"),
                (plain(subject.limit), ""),
                ("█" * filled + "░" * (bar_width - filled), style),
                (percent(ratio), style),
                (str(subject.remaining), ""),
                (seconds(subject.full_in_s), ""),
            ]
        )
    return [*table(columns, rows, width), *_empty(rows, "nobody has used any of a limit")]


def requests(board: Board, width: int) -> list[Line]:
    """Return recent requests with their way through the gateway."""
    columns = (
        Column("time"), Column("status", is_number=True), Column("endpoint", drop=3, least=8),
        Column("key", least=6), Column("model", least=8), Column("took", is_number=True),
        Column("first", is_number=True, drop=2), Column("tokens", is_number=True, drop=1),
        Column("$", is_number=True, drop=4), Column("way", least=28),
    )  # fmt: skip
    rows = [_request(row) for row in board.requests]
    return [*table(columns, rows, width), *_empty(rows, "no request since you look")]


def _request(row: RequestRow) -> list[Piece]:
    tokens = NOTHING
    if row.input_tokens is not None or row.output_tokens is not None:
        tokens = f"{row.input_tokens or 0}→{row.output_tokens or 0}"
    style = "green" if row.status < 400 else "yellow" if row.status < 500 else "bold red"
    return [
        (time.strftime("%H:%M:%S", time.localtime(row.time_ms / 1000)), "dim"),
        (str(row.status or "left"), style),
        (plain(row.endpoint), "dim"),
        (plain(row.key or NOTHING), ""),
        (plain(row.model or NOTHING), ""),
        (seconds(row.duration_s), ""),
        (seconds(row.ttft_s), ""),
        (tokens, ""),
        (quantity(row.cost_usd) if row.cost_usd is not None else NOTHING, ""),
        (_way(row), "" if row.outcome == "ok" else style),
    ]


def _way(row: RequestRow) -> str:
    if row.limit is not None and row.status == 429:
        return f"limit {plain(row.limit)}"
    tried = [
        f"{plain(attempt.provider)} {attempt.status or plain(attempt.outcome)}"
        for attempt in row.attempts
    ]
    steps = []
    for step, same in groupby(tried):
        times = len(list(same))
        steps.append(step if times == 1 else f"{step} ×{times}")
    if row.outcome != "ok" and (not row.attempts or row.attempts[-1].outcome != row.outcome):
        steps.append(plain(row.outcome))
    return " → ".join(steps) or NOTHING


PAGES: Final[dict[str, Callable[[Board, int], list[Line]]]] = {
    "Overview": overview,
    "Providers": providers,
    "Keys": keys,
    "Limits": limits,
    "Requests": requests,
}
