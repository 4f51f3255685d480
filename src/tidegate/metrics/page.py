"""The metrics page: all processes' cells summed and written as text, on the loop, in small steps.

A render visits the cells in chunks of up to fifty series, which lie side by side in every slot.
A chunk whose raw bytes are those of the last render keeps its text; in a changed one only
the changed series are formatted. After each millisecond of work the loop gets its turn. (A
thread stalls the loop for longer: one `join` or `%` holds the interpreter for its whole length.)

Scrapes that arrive while a render runs share the next one: each gets a page that was begun
after it arrived, so a client that has its answer finds itself in it, and any number of scrapers
cost two renders at a time at most.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from operator import add
from typing import NamedTuple

from tidegate.memory import Segment
from tidegate.metrics.families.rate_limits import ALLOWED, BLOCKED
from tidegate.metrics.family import Family
from tidegate.metrics.index import SeriesRecord
from tidegate.metrics.negotiate import accepts_gzip, choose_format
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import GarbageCounters, RuntimeFigures, Samples
from tidegate.metrics.series import Exemplar
from tidegate.metrics.text import (
    HistogramPattern,
    former_heads,
    heads,
    label_pairs,
    renamed,
    sample,
    with_exemplars,
)

_SERIES_A_CHUNK = 50
_STEP_S = 0.001
_GZIP_LEVEL = 1  # level 6 takes 2.7 times as long for 17 % less
_EXEMPLAR_SHOWN_S = 60.0
_GZIP_WINDOW = 31  # zlib's number for the gzip format with the largest window

#: Exemplars of this process by a series' first cell: `(number of the bucket, exemplar)`.
_Examples = dict[int, list[tuple[int, Exemplar]]]


class MetricsPage:
    """The page of one process; any process of the instance can render the whole instance's."""

    def __init__(self, segment: Segment, registry: Registry) -> None:
        self._garbage = GarbageCounters(registry)
        self._sheet = _Sheet(segment, registry)
        self._running: asyncio.Task[_Rendering] | None = None
        self._next: asyncio.Task[_Rendering] | None = None

    async def render(
        self, accept: bytes | None, accept_encoding: bytes | None
    ) -> tuple[bytes, bytes]:
        """Return header lines, each ended by CRLF, and the body of a page begun after this call.

        Args:
            accept: The scraper's `Accept` header.
            accept_encoding: Its `Accept-Encoding` header.
        """
        form = choose_format(accept)
        headers = b"content-type: %b\r\nvary: Accept, Accept-Encoding\r\n" % form.content_type
        rendering = await self._begun_from_now()
        if accepts_gzip(accept_encoding):
            return headers + b"content-encoding: gzip\r\n", await rendering.gzip(form.openmetrics)
        return headers, rendering.plain(form.openmetrics)

    def store_garbage_figures(self) -> None:
        """Bring this process's `python_gc_*` up to date; about once a second."""
        self._garbage.store()

    async def _begun_from_now(self) -> _Rendering:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._render_after(self._running))
        # Shielded: the scraper that happens to be first may leave, the others wait on.
        return await asyncio.shield(self._next)

    async def _render_after(self, earlier: asyncio.Task[_Rendering] | None) -> _Rendering:
        if earlier is not None:
            await asyncio.wait([earlier])
        self._running, self._next = self._next, None
        try:
            self._garbage.store()
            return await self._sheet.render()
        finally:
            self._running = None


class _Steps:
    """Gives the loop its turn after each millisecond of work."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = time.perf_counter() + _STEP_S

    async def pause_if_due(self) -> None:
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _STEP_S


class _Part(NamedTuple):
    """One family's share of a page: heads and lines of samples, `(text, OpenMetrics)` each."""

    heads: tuple[bytes, bytes]
    lines: tuple[list[bytes], list[bytes]]

    def under(self, family: Family, former_name: str) -> _Part:
        """Return the same samples under the name that the family had before."""
        text, openmetrics = (
            [renamed(data, family.name, former_name) for data in lines] for lines in self.lines
        )
        return _Part(former_heads(family, former_name), (text, openmetrics))


class _Rendering:
    """One finished render: heads and sample lines of each family, and the bodies made of them."""

    __slots__ = ("_gzips", "_plain", "_sections")

    def __init__(self, sections: list[_Part]) -> None:
        self._sections = sections
        self._plain: dict[bool, bytes] = {}
        self._gzips: dict[bool, asyncio.Task[bytes]] = {}

    def plain(self, openmetrics: bool) -> bytes:
        body = self._plain.get(openmetrics)
        if body is None:
            body = self._plain[openmetrics] = b"".join(self._parts(openmetrics))
        return body

    async def gzip(self, openmetrics: bool) -> bytes:
        task = self._gzips.get(openmetrics)
        if task is None:
            loop = asyncio.get_running_loop()
            task = self._gzips[openmetrics] = loop.create_task(self._compress(openmetrics))
        return await asyncio.shield(task)

    def _parts(self, openmetrics: bool) -> list[bytes]:
        parts = []
        for section in self._sections:
            parts.append(section.heads[openmetrics])
            parts += section.lines[openmetrics]
        if openmetrics:
            parts.append(b"# EOF\n")
        return parts

    async def _compress(self, openmetrics: bool) -> bytes:
        steps = _Steps()
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        packed = []
        for part in self._parts(openmetrics):
            packed.append(compressor.compress(part))
            await steps.pause_if_due()
        packed.append(compressor.flush())
        return b"".join(packed)


class _Line:
    """One series: its place in the cells, its numbers and its text of the last render."""

    __slots__ = ("cells", "first", "group", "merge_max", "pairs", "text", "values")

    def __init__(self, record: SeriesRecord, group: _Group, family: Family) -> None:
        self.first = record.first
        self.cells = record.cells
        self.group = group
        self.pairs = label_pairs(family, record.labels)
        self.merge_max = family.kind == "gauge" and family.merge == "max"
        self.values: list[float] | None = None
        self.text = ""


class _Group:
    """Up to fifty series of one family whose text is joined and encoded together."""

    __slots__ = ("changed", "data", "lines", "section")

    def __init__(self, section: _Section) -> None:
        self.section = section
        self.lines: list[_Line] = []
        self.changed = True
        self.data = b""

    def with_examples(self, examples: _Examples) -> bytes:
        """Return the group's text for OpenMetrics, with the exemplars of its series."""
        return "".join(
            [
                with_exemplars(line.text, examples[line.first])
                if line.first in examples
                else line.text
                for line in self.lines
            ]
        ).encode()


class _Section:
    """One family on the page."""

    __slots__ = ("family", "groups", "heads", "pattern")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.heads = heads(family)
        self.groups: list[_Group] = []
        self.pattern = HistogramPattern(family) if family.kind == "histogram" else None

    def open_group(self) -> _Group:
        """Return the group that takes the next series."""
        if not self.groups or len(self.groups[-1].lines) == _SERIES_A_CHUNK:
            self.groups.append(_Group(self))
        return self.groups[-1]

    def write(self, line: _Line, values: list[float]) -> None:
        line.values = values
        line.text = (
            sample(self.family.name, line.pairs, values[0])
            if self.pattern is None
            else self.pattern.lines(line.pairs, values)
        )
        line.group.changed = True

    def computed(self, samples: Samples) -> bytes:
        name = self.family.name
        return "".join(
            [sample(name, label_pairs(self.family, labels), value) for labels, value in samples]
        ).encode()


class _Chunk:
    """Up to fifty series that follow each other in the index, and so in the cells."""

    __slots__ = ("end", "lines", "raw", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.lines: list[_Line] = []
        self.raw: list[bytes] | None = None


class _Sheet:
    """What is kept from render to render: the text of every series, by chunks and by families."""

    __slots__ = ("_chunks", "_figures", "_read", "_registry", "_sections", "_views")

    def __init__(self, segment: Segment, registry: Registry) -> None:
        self._registry = registry
        self._figures = RuntimeFigures(registry)
        self._views = [segment.cells(slot) for slot in range(segment.slots)]
        first = [ALLOWED.name, BLOCKED.name]
        names = [*first, *sorted(name for name in registry.families if name not in first)]
        self._sections = {name: _Section(registry.families[name]) for name in names}
        self._chunks: list[_Chunk] = []
        self._read = 0

    async def render(self) -> _Rendering:
        """Bring all text up to date with the cells. One at a time."""
        steps = _Steps()
        self._registry.catch_up()
        await self._take_new(steps)
        for chunk in self._chunks:
            self._refresh(chunk)
            await steps.pause_if_due()
        computed = await self._figures.read()
        examples = self._examples()
        parts = []
        for name, section in self._sections.items():
            if section.family.computed:
                lines = [section.computed(computed.get(name, []))]
                part = _Part(section.heads, (lines, lines))
            else:
                part = await self._part(section, examples, steps)
            parts.append(part)
            if section.family.former_name is not None:
                parts.append(part.under(section.family, section.family.former_name))
        return _Rendering(parts)

    async def _part(self, section: _Section, examples: _Examples, steps: _Steps) -> _Part:
        lines = []
        for group in section.groups:
            if group.changed:
                group.data = "".join([line.text for line in group.lines]).encode()
                group.changed = False
                await steps.pause_if_due()
            lines.append(group.data)
        if section.pattern is None or not examples:
            return _Part(section.heads, (lines, lines))
        openmetrics = lines.copy()
        for number, group in enumerate(section.groups):
            if any(line.first in examples for line in group.lines):
                openmetrics[number] = group.with_examples(examples)
                await steps.pause_if_due()
        return _Part(section.heads, (lines, openmetrics))

    def _examples(self) -> _Examples:
        """Return this process's recent exemplars: first cell of a series → by bucket."""
        since_s = time.monotonic() - _EXEMPLAR_SHOWN_S
        found: _Examples = {}
        for first, series in self._registry.exemplified.items():
            recent = [(n, one) for n, one in series.exemplars.items() if one.kept_s >= since_s]
            if recent:
                found[first] = recent
        return found

    async def _take_new(self, steps: _Steps) -> None:
        """Give each new record of the index its line."""
        records = self._registry.index.records
        while self._read < len(records):
            record = records[self._read]
            self._read += 1
            if not self._registry.describes(record):
                continue
            section = self._sections[record.family]
            if section.family.computed:
                continue
            if not self._chunks or len(self._chunks[-1].lines) == _SERIES_A_CHUNK:
                self._chunks.append(_Chunk(record.first))
            chunk = self._chunks[-1]
            group = section.open_group()
            line = _Line(record, group, section.family)
            group.lines.append(line)
            group.changed = True
            chunk.lines.append(line)
            chunk.end = record.first + record.cells
            chunk.raw = None
            await steps.pause_if_due()

    def _refresh(self, chunk: _Chunk) -> None:
        """Read a chunk's cells in every slot at once and rewrite the lines that changed."""
        start, end = chunk.start, chunk.end
        zeros = bytes(8 * (end - start))
        raw = [data for view in self._views if (data := view[start:end].tobytes()) != zeros]
        if raw == chunk.raw:
            return
        chunk.raw = raw
        slots = [memoryview(data).cast("d") for data in raw]
        totals = _sums(slots, end - start)
        for line in chunk.lines:
            offset = line.first - start
            values = totals[offset : offset + line.cells]
            if line.merge_max:
                values = [max((cells[offset] for cells in slots), default=0.0)]
            if values != line.values:
                line.group.section.write(line, values)


def _sums(slots: list[memoryview[float]], length: int) -> list[float]:
    if not slots:
        return [0.0] * length
    if len(slots) == 1:
        return list(slots[0])
    if len(slots) == 2:
        return list(map(add, *slots))
    return list(map(sum, zip(*slots, strict=True)))
