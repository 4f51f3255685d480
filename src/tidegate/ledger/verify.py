"""Proves that journals, rows and rollups tell the same story, and the metrics page too."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec.structs import astuple, replace

from tidegate.ledger.records import (
    HEADER_BYTES,
    Open,
    Record,
    Settle,
    decode_header,
    scan,
)
from tidegate.ledger.store import SETTLE_AT, LedgerReader, Sums
from tidegate.ledger.tail import journal_paths

_CHUNK: Final = 500
_MAX_PROBLEMS: Final = 50
_QUIET_S: Final = 5.0
_BETWEEN_S: Final = 0.4
_SAMPLE: Final = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
_LABEL: Final = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        problems: Sentences; empty when all agree. At most fifty of each check.
        files: Journals looked at.
        records: In them, folded ones and others.
        waiting_records: Of these, not in the database yet; no problem in themselves.
        rows: In the database.
        open_rows: Of these, without an end.
        rollups: Compared with the rows.
        page_attempts: Attempts on the metrics page; None when no page was compared.
    """

    problems: list[str] = field(default_factory=list)
    files: int = 0
    records: int = 0
    waiting_records: int = 0
    rows: int = 0
    open_rows: int = 0
    rollups: int = 0
    page_attempts: int | None = None


def verify(directory: Path, reader: LedgerReader) -> Report:
    """Compare the journals in *directory*, the rows and the rollups, of a gateway that runs or not.

    Raises:
        StoreDown: The database cannot be read.
    """
    report = Report()
    report.problems += [f"database: {text}" for text in reader.damage()]
    _compare_journals(report, directory, reader)
    _compare_sums(report, reader)
    report.rows, report.open_rows = reader.count_rows()
    return report


def _compare_journals(report: Report, directory: Path, reader: LedgerReader) -> None:
    """Each folded record must stand in its row; positions are read before the files."""
    if not directory.is_dir():
        return
    instance = directory / "instance"
    positions = reader.load(instance.read_text().strip()).positions if instance.exists() else {}
    problems = [
        f"journal {path.name}: damaged, set aside; its records behind the damage have no row"
        for path in sorted(directory.glob("*.damaged"))
    ]
    for path, header in sorted(journal_paths(directory)):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # folded and deleted just now
        report.files += 1
        folded_bytes = positions[path.name].offset if path.name in positions else 0
        found = scan(data, HEADER_BYTES).records if decode_header(data) is not None else []
        folded = [record for record, end in found if end <= folded_bytes]
        report.records += len(found)
        report.waiting_records += len(found) - len(folded)
        problems += _missing(folded, header.writer, reader)
    report.problems += problems[:_MAX_PROBLEMS]


def _missing(folded: list[Record], writer: str, reader: LedgerReader) -> Iterator[str]:
    """Say of each record that is folded but not in its row what is wrong."""
    # The first record of a kind counts; a repetition is ignored.
    opens: dict[str, Open] = {}
    ends: dict[str, Settle] = {}
    for record in folded:
        if type(record) is Open:
            opens.setdefault(record.attempt_id, record)
        elif type(record) is Settle:
            ends.setdefault(record.attempt_id, record)
    ids = list(opens | ends)
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        rows = reader.find(some)
        for attempt_id in some:
            row, opened, end = rows.get(attempt_id), opens.get(attempt_id), ends.get(attempt_id)
            if row is None:
                # An end without a beginning was ignored; an old row may have been deleted.
                if opened is not None and opened.at_ms >= reader.rows_from_ms():
                    yield f"attempt {attempt_id}: recorded by {writer}, but there is no row"
                continue
            if opened is not None and row[: SETTLE_AT - 2] != _columns_of(opened):
                yield f"attempt {attempt_id}: its row differs from what was recorded at its opening"
            if end is not None and row.outcome is None:
                yield f"attempt {attempt_id}: settled as {end.outcome}, but its row is open"
            elif end is not None and row[SETTLE_AT:] != astuple(end)[1:]:
                yield f"attempt {attempt_id}: its row differs from what was recorded at its end"


def _columns_of(record: Open) -> tuple[object, ...]:
    if "\x00" in record.target_model:
        record = replace(record, target_model=record.target_model.replace("\x00", "\ufffd"))
    return astuple(record)


def _compare_sums(report: Report, reader: LedgerReader) -> None:
    rollups, rows = reader.both_sums()
    report.rollups = len(rollups)
    nothing = Sums(*(0 for _ in Sums._fields))
    found = []
    for key in sorted(rollups.keys() | rows.keys()):
        stored, added = rollups.get(key, nothing), rows.get(key, nothing)
        for name, one, other in zip(Sums._fields, stored, added, strict=True):
            if one != other:
                hour = time.strftime("%Y-%m-%dT%H:00Z", time.gmtime(key[0] / 1000))
                found.append(
                    f"rollup {hour} key {key[1]} model {key[2]}: {name} is {one}, rows say {other}"
                )
    report.problems += found[:_MAX_PROBLEMS]


# ---------------------------------------------------------------------- the page


class Page:
    """The samples of a metrics page that the ledger can be held against."""

    def __init__(self, text: str) -> None:
        self.attempts: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.cost_usd = 0.0
        self.deaths = 0
        self.started_ms = 0
        for line in text.splitlines():
            match = _SAMPLE.match(line)
            if match is not None:
                labels = {name: _unescaped(text) for name, text in _LABEL.findall(match[2] or "")}
                self._take(match[1], labels, float(match[3]))

    def _take(self, name: str, labels: dict[str, str], value: float) -> None:
        if name == "tidegate_upstream_requests_total":
            provider = labels["provider"]
            self.attempts[provider] = self.attempts.get(provider, 0) + int(value)
        elif name == "tidegate_tokens_total":
            kind = labels["type"]
            self.tokens[kind] = self.tokens.get(kind, 0) + int(value)
        elif name == "tidegate_cost_usd_total":
            self.cost_usd += value
        elif name == "tidegate_worker_restarts_total":
            self.deaths += int(value)
        elif name == "process_start_time_seconds":
            self.started_ms = int(value * 1000)


def _unescaped(text: str) -> str:
    return text.replace(r"\"", '"').replace(r"\n", "\n").replace("\\\\", "\\")


def compare_page(
    report: Report,
    instance: str,
    reader: LedgerReader,
    read_page: Callable[[], str],
    *,
    quiet_s: float = _QUIET_S,
) -> None:
    """Hold the metrics page against the rows since the instance started.

    The page counts an attempt when it ends, the row follows within a second: the two are read
    again and again for *quiet_s* until they agree. Each death of a worker may have come between
    the two counts of one attempt, and takes the tokens of what it had in hand with it.
    """
    until_s = time.monotonic() + quiet_s
    while True:
        page = Page(read_page())
        problems = _differences(page, reader.sums_by_provider(instance, page.started_ms))
        if not problems or time.monotonic() >= until_s:
            break
        time.sleep(_BETWEEN_S)
    report.page_attempts = sum(page.attempts.values())
    report.problems += problems


def _differences(page: Page, rows: dict[str, Sums]) -> list[str]:
    found = []
    for provider in sorted(page.attempts.keys() | rows.keys()):
        sums = rows.get(provider)
        ended = 0 if sums is None else sums.settled - sums.interrupted
        counted = page.attempts.get(provider, 0)
        if abs(counted - ended) > page.deaths:
            found.append(
                f"page: {counted} attempts at provider {provider}, rows say {ended} "
                f"(and {page.deaths} deaths of workers)"
            )
    if page.deaths:
        return found
    for kind, name in (
        ("input", "input_tokens"),
        ("cached_input", "cached_input_tokens"),
        ("cache_write", "cache_write_tokens"),
        ("output", "output_tokens"),
        ("reasoning", "reasoning_tokens"),
    ):
        added = sum(getattr(sums, name) for sums in rows.values())
        if page.tokens.get(kind, 0) != added:
            found.append(f"page: {page.tokens.get(kind, 0)} {kind} tokens, rows say {added}")
    cost_usd = sum(sums.cost_nano_usd for sums in rows.values()) / 1e9
    if abs(page.cost_usd - cost_usd) > 1e-6 * max(1.0, cost_usd):
        found.append(f"page: {page.cost_usd:.9f} USD, rows say {cost_usd:.9f}")
    return found
