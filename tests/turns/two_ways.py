"""One scene played on the short way and on the long way, and all that can be seen of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from tests.edge.wire import Answer
from tests.turns.stand import Connection, Provider, Stand, chat

from tidegate.ledger.records import Open, Settle

Scene = Callable[[Stand, Connection], Awaitable[list[Answer]]]

#: Samples whose value is a matter of time, or of the stand's own housekeeping.
_OF_TIME = re.compile(
    r"python_|process_|\w+_(seconds|per_second)_(sum|bucket)|tidegate_ledger_write|"
    r"tidegate_(upstream_)?connections|tidegate_uptime|tidegate_worker|tidegate_metrics_series"
)
_TIMES_OF_LINE = ("ts", "request_id", "duration_ms", "upstream_ms")
_TIMES_OF_ROW = ("opened_at_ms", "settled_at_ms", "duration_ms", "instance", "writer")
_IS_OF_TIME = re.compile(r";t=\d|reset|retry-after")
_TIME = re.compile(r"\d[\w.:-]*")
_TIME_OF_BODY = re.compile(rb'(try again in |"created": ?)[\d.]+')


class Seen(msgspec.Struct):
    """All that a scene leaves behind, without what differs each time.

    Attributes:
        answers: What clients got.
        asked: What providers were sent.
        lines: Of the access log.
        rows: Of the ledger.
        counted: By how much each sample of the metrics page has risen or fallen.
        tasks: Requests that a task was needed for.
    """

    answers: list[Any]
    asked: list[Any]
    lines: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    counted: dict[str, float]
    tasks: int


async def play(stand: Stand, scene: Scene, *providers: Provider) -> Seen:
    """Play *scene* on a stand whose providers have a free connection each; closes the stand."""
    for provider in providers:
        provider.behave = provider.usual
    connection = await stand.connect()
    for model in ("warm", "warm-claude"):
        if f"{model}:" in (stand.folder / "tidegate.yaml").read_text():
            assert (await connection.ask(chat(model))).status == 200
    for provider in providers:
        provider.asked.clear()
    before, tasks = await stand.page(), stand.tasks
    answers = await scene(stand, connection)
    tasks = stand.tasks - tasks
    after = await stand.page()
    assert after["tidegate_requests_in_flight"] == before["tidegate_requests_in_flight"]
    await stand.close()
    counted = {
        name: round(after[name] - before.get(name, 0.0), 9)
        for name in after
        if not _OF_TIME.match(name) and after[name] != before.get(name, 0.0)
    }
    check_settled(stand)
    return Seen(
        answers=[unlike_times(answer) for answer in answers],
        asked=[provider.asked.copy() for provider in providers],
        lines=lines_of(stand),
        rows=rows_of(stand),
        counted=counted,
        tasks=tasks,
    )


def check_settled(stand: Stand) -> None:
    """Each attempt was begun once and ended once, and nothing else was."""
    records = stand.records()
    opened = Counter(record.attempt_id for record in records if isinstance(record, Open))
    settled = Counter(record.attempt_id for record in records if isinstance(record, Settle))
    assert opened == settled
    assert set(opened.values()) <= {1}


def lines_of(stand: Stand) -> list[dict[str, Any]]:
    """Return the access log's lines of a scene, in an order that no race decides."""
    lines = [_without(line, _TIMES_OF_LINE) for line in stand.lines() if _is_of_scene(line)]
    return sorted(lines, key=repr)


def rows_of(stand: Stand) -> list[dict[str, Any]]:
    """Return the ledger's rows of a scene, in an order that no race decides."""
    rows = [_row(row) for row in stand.rows() if not row["model"].startswith("warm")]
    return sorted(rows, key=repr)


def _is_of_scene(line: dict[str, Any]) -> bool:
    return line["event"] == "request" and not str(line.get("model")).startswith("warm")


def unlike_times(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body, without what differs each time."""
    headers = {
        name: _TIME.sub("…", value) if _IS_OF_TIME.search(name + value) else value
        for name, value in answer.headers.items()
        if name not in ("x-request-id", "date")
    }
    assert "x-request-id" in answer.headers
    assert "date" in answer.headers
    return answer.status, headers, _TIME_OF_BODY.sub(rb"\1", answer.body)


def _without(fields: dict[str, Any], times: tuple[str, ...]) -> dict[str, Any]:
    """Leave out the values of *times*, but not that they are there."""
    return {
        name: type(value).__name__ if name in times else value for name, value in fields.items()
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    row = _without(row, _TIMES_OF_ROW)
    row["attempt_id"] = row["attempt_id"].partition(":")[2]
    return row
