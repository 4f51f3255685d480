"""Runtime: processor, memory, descriptors, loops, garbage, ledger, the page itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scripts.dashboards.board import Board, Line
from scripts.dashboards.colours import BAD, DOUBTFUL, GOOD, PLAIN
from scripts.dashboards.expressions import Scope, share

from tidegate.metrics.families import (
    build,
    clients,
    configuration,
    control,
    event_loop,
    ledger,
    process,
    python,
    series,
    telemetry,
    workers,
)

_WORKER = ["instance", "worker"]
_WORKER_LEGEND = "{{instance}} worker {{worker}}"
_INSTANCE = ["instance"]
_LEGEND = "{{instance}}"


def runtime() -> dict[str, Any]:
    """Return the dashboard about the processes."""
    board = Board(
        "tidegate-runtime",
        "Tidegate / Runtime",
        "Processes, workers, event loops, ledger and metrics page of each instance.",
    )
    scope = Scope()
    _tiles(board, scope)
    _instances(board, scope)
    _workers(board, scope)
    _python(board, scope)
    _ledger(board, scope)
    _configuration(board, scope)
    _page(board, scope)
    return board.build()


def _tiles(board: Board, scope: Scope) -> None:
    board.row("Now")
    started = scope.value(process.START_TIME, how="max")
    board.tile("Workers up", scope.value(workers.WORKER_UP), [(None, BAD), (1, GOOD)])
    board.tile(
        "Youngest instance's age",
        replace(started, text=f"time() - {started.text}", unit="s"),
        [(None, DOUBTFUL), (300, GOOD)],
        trend=False,
    )
    board.tile("CPU", scope.rate(process.CPU), [(None, PLAIN)], decimals=2)
    board.tile("Resident memory", scope.value(process.RESIDENT_MEMORY), [(None, PLAIN)])
    board.tile(
        "Descriptors used",
        share(
            scope.value(process.OPEN_FDS, _INSTANCE), scope.value(process.MAX_FDS, _INSTANCE)
        ).top(1),
        [(None, GOOD), (0.7, DOUBTFUL), (0.9, BAD)],
        note="The instance that has the least room.",
    )
    board.tile(
        "Loop lag, p99",
        scope.quantile(0.99, event_loop.EVENT_LOOP_LAG),
        [(None, GOOD), (0.05, DOUBTFUL), (0.25, BAD)],
        idle="starting",
    )
    board.tile(
        "Workers died in this time",
        scope.increase(workers.WORKER_RESTARTS),
        [(None, GOOD), (1, DOUBTFUL), (3, BAD)],
        decimals=0,
        trend=False,
    )
    board.tile(
        "Newest configuration",
        scope.value(configuration.CONFIG_LAST_RELOAD, how="min"),
        [(None, BAD), (1, GOOD)],
        meanings={"0": ("refused", BAD), "1": ("in force", GOOD)},
        trend=False,
    )


def _instances(board: Board, scope: Scope) -> None:
    board.row("Instances")
    board.graph(
        "CPU",
        [Line(scope.rate(process.CPU, _INSTANCE), _LEGEND)],
        note="All processes of an instance; 1 is a whole core.",
    )
    board.graph("Resident memory", [Line(scope.value(process.RESIDENT_MEMORY, _INSTANCE), _LEGEND)])
    board.graph("Virtual memory", [Line(scope.value(process.VIRTUAL_MEMORY, _INSTANCE), _LEGEND)])
    board.graph("Descriptors open", [Line(scope.value(process.OPEN_FDS, _INSTANCE), _LEGEND)])
    board.graph(
        "Client connections",
        [Line(scope.value(clients.CONNECTIONS, ["state"]), "{{state}}")],
        style="stack",
    )
    board.graph("Threads", [Line(scope.value(python.PYTHON_THREADS, _INSTANCE), _LEGEND)])


def _workers(board: Board, scope: Scope) -> None:
    board.row("Workers")
    board.graph(
        "CPU by worker",
        [Line(scope.rate(workers.WORKER_CPU, _WORKER), _WORKER_LEGEND)],
        top=1,
        note="A worker at 1 uses its whole core: more workers or more hosts are needed.",
    )
    board.graph(
        "Resident memory by worker",
        [Line(scope.value(workers.WORKER_MEMORY, _WORKER), _WORKER_LEGEND)],
        note="Memory that workers share counts in each.",
    )
    board.graph(
        "Descriptors by worker, share used",
        [
            Line(
                share(
                    scope.value(workers.WORKER_OPEN_FDS, _WORKER),
                    scope.value(workers.WORKER_MAX_FDS, _WORKER),
                ),
                _WORKER_LEGEND,
            )
        ],
        top=1,
        steps=[(0.9, BAD)],
    )
    board.graph(
        "Requests in flight by worker",
        [Line(scope.value(workers.WORKER_IN_FLIGHT, _WORKER), _WORKER_LEGEND)],
        style="stack",
    )
    board.graph(
        "Connections by worker",
        [Line(scope.value(workers.WORKER_CONNECTIONS, _WORKER), _WORKER_LEGEND)],
        style="stack",
    )
    board.graph(
        "Deaths of workers and control",
        [
            Line(scope.rate(workers.WORKER_RESTARTS, ["reason"]), "worker: {{reason}}"),
            Line(scope.rate(control.CONTROL_RESTARTS, ["reason"]), "control: {{reason}}"),
        ],
        style="stack",
    )


def _python(board: Board, scope: Scope) -> None:
    board.row("Event loops and Python")
    board.graph(
        "Loop lag",
        [
            Line(scope.quantile(0.5, event_loop.EVENT_LOOP_LAG), "p50"),
            Line(scope.quantile(0.95, event_loop.EVENT_LOOP_LAG), "p95"),
            Line(scope.quantile(0.99, event_loop.EVENT_LOOP_LAG), "p99"),
        ],
        idle="starting",
    )
    for title, family in (
        ("Garbage collections", python.GC_COLLECTIONS),
        ("Objects collected", python.GC_OBJECTS_COLLECTED),
        ("Objects uncollectable", python.GC_OBJECTS_UNCOLLECTABLE),
    ):
        board.graph(
            title,
            [Line(scope.rate(family, ["generation"]), "generation {{generation}}")],
            style="stack",
        )
    for title, version, legend in (
        ("Instances by version", build.BUILD_INFO, "{{version}}"),
        ("Instances by Python", python.PYTHON_INFO, "{{version}}"),
    ):
        board.graph(
            title,
            [Line(scope.value(version, ["version"], how="count"), legend)],
            style="stack",
        )


def _ledger(board: Board, scope: Scope) -> None:
    board.row("Ledger")
    board.graph(
        "Records",
        [
            Line(scope.rate(ledger.LEDGER_RECORDS, ["record"]), "{{record}}"),
            Line(scope.rate(ledger.LEDGER_FOLDED), "in the database"),
        ],
    )
    board.graph(
        "Lag",
        [Line(scope.value(ledger.LEDGER_FOLD_LAG, _INSTANCE, how="max"), _LEGEND)],
        note="Steady growth: the database cannot take what is written.",
    )
    board.graph("Waiting", [Line(scope.value(ledger.LEDGER_PENDING, _INSTANCE), _LEGEND)])
    board.graph(
        "Time of a write",
        [
            Line(scope.quantile(0.5, ledger.LEDGER_WRITE), "p50"),
            Line(scope.quantile(0.99, ledger.LEDGER_WRITE), "p99"),
        ],
        note="A slow disk delays every request.",
    )
    board.graph("Attempts not ended", [Line(scope.value(ledger.LEDGER_OPEN, _INSTANCE), _LEGEND)])
    board.graph(
        "Trouble",
        [
            Line(scope.rate(ledger.LEDGER_STORE_FAILURES), "database failed"),
            Line(scope.rate(ledger.LEDGER_DAMAGED), "journal damaged"),
            Line(scope.rate(ledger.LEDGER_LOST, ["record"]), "{{record}} lost"),
        ],
        style="bars",
        note="Anything here is worth a look into the log.",
    )


def _configuration(board: Board, scope: Scope) -> None:
    board.row("Configuration")
    board.graph(
        "Generation",
        [
            Line(
                scope.value(configuration.CONFIG_GENERATION, _INSTANCE, how="max"),
                "{{instance}} published",
            ),
            Line(
                scope.value(workers.WORKER_GENERATION, _INSTANCE, how="min"),
                "{{instance}} slowest worker",
            ),
        ],
        width=12,
    )
    board.graph(
        "Reloads",
        [Line(scope.rate(configuration.CONFIG_RELOADS, ["result"]), "{{result}}")],
        style="bars",
        width=12,
    )


def _page(board: Board, scope: Scope) -> None:
    board.row("Telemetry")
    board.graph(
        "Series of the largest families",
        [Line(scope.value(series.SERIES, ["family"]).top(10), "{{family}}")],
    )
    board.graph(
        "Turned away by a cap on series",
        [Line(scope.rate(series.SERIES_DROPPED, ["family"]).or_zero(), "{{family}}")],
        idle="none",
    )
    board.graph(
        "Telemetry lost",
        [Line(scope.rate(telemetry.TELEMETRY_DROPPED, ["kind"]), "{{kind}}")],
        style="stack",
    )
