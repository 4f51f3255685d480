"""Figures as tables for people and as JSON for later runs to compare with."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.measures import CpuRow, InstallSize, MemoryRow, Spread, StartRow, TimeRow
from bench.systems import find_program

BUDGETS = {
    "JSON request, 1.7 KB": 2.3,  # ledger folding included
    "stream, back to back": 1.2,
    "JSON, OpenAI → Anthropic": 4.0,
    "JSON, Anthropic → OpenAI": 4.0,
    "µs a translated event": 60.0,
    "lone stream ms": 0.6,
    "idle worker MiB": 45.0,
    "ready s": 1.0,
    "install MiB": 95.0,
    "install packages": 36,
}
"""The most that the project allows itself; ratios are to nginx."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join(
        "-" * (width + 2) if not column else "-" * (width + 1) + ":"
        for column, width in enumerate(widths)
    )
    return "\n".join((line(head), f"|{rule}|", *map(line, rows)))


def _spread(value: Spread, digits: int = 1) -> str:
    return f"{value.median:.{digits}f} ({value.least:.{digits}f}–{value.most:.{digits}f})"


def _against(value: float, name: str) -> str:
    budget = BUDGETS.get(name)
    if budget is None:
        return ""
    return f"≤ {budget:g}" + ("" if value <= budget else " missed")


def cpu_table(rows: Sequence[CpuRow]) -> str:
    """Show CPU time per request and its ratio to nginx.

    "not worker" is what of the gateway's time supervisor and control took, "others" the share of
    the core that other programs had meanwhile.
    """
    return table(
        (
            "CPU µs per request", "conns", "nginx", "tidegate", "× nginx", "budget",
            "not worker", "nginx/s", "tidegate/s", "others",
        ),
        [
            (
                row.work,
                str(row.connections),
                _spread(row.nginx_us),
                _spread(row.tidegate_us),
                _spread(row.ratio, 2),
                _against(row.ratio.median, row.work),
                f"{row.beside_worker_us:.1f}",
                f"{row.nginx_per_s:,.0f}",
                f"{row.tidegate_per_s:,.0f}",
                f"{row.foreign_share:.0%}",
            )
            for row in rows
        ],
    )  # fmt: skip


def chunk_table(rows: Sequence[CpuRow], events: int) -> str:
    """Show what one event of a translated stream costs, the request's share in it."""
    return table(
        ("CPU µs per event of a stream", "conns", "nginx", "tidegate", "budget"),
        [
            (
                row.work,
                str(row.connections),
                f"{row.nginx_us.median / events:.1f}",
                f"{row.tidegate_us.median / events:.1f}",
                _against(row.tidegate_us.median / events, "µs a translated event"),
            )
            for row in rows
        ],
    )


def time_table(title: str, rows: Sequence[TimeRow], budget: str = "") -> str:
    """Show percentiles, and what each system adds to the upstream alone."""
    return table(
        (title, "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "budget p50"),
        [
            (
                row.system,
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.added_p50_ms:.2f}",
                f"{row.added_p99_ms:.2f}",
                _against(row.p50_ms, budget) if row.system == "tidegate" else "",
            )
            for row in rows
        ],
    )


def memory_table(title: str, rows: Sequence[MemoryRow], *, is_idle: bool) -> str:
    """Show each process and the sums; the budget is one of idle workers."""
    return table(
        (title, "RSS MiB", "PSS MiB", "budget"),
        [
            (
                row.process,
                f"{row.rss_mib:.1f}",
                f"{row.pss_mib:.1f}",
                _against(row.rss_mib, "idle worker MiB")
                if is_idle and ".worker" in row.process
                else "",
            )
            for row in rows
        ],
    )


def start_table(rows: Sequence[StartRow]) -> str:
    """Show seconds from the start of the process."""
    return table(
        ("start", "ready s", "first answer s", "budget"),
        [
            (
                row.start,
                _spread(row.ready_s, 2),
                _spread(row.first_answer_s, 2),
                _against(row.ready_s.median, "ready s"),
            )
            for row in rows
        ],
    )


def install_table(size: InstallSize) -> str:
    """Show what an installation weighs."""
    return table(
        ("installation", "measured", "budget"),
        [
            ("MiB", f"{size.mib:.0f}", _against(size.mib, "install MiB")),
            ("packages", str(size.packages), _against(size.packages, "install packages")),
        ],
    )


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, kernel, versions. No name of the machine."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    nginx = subprocess.run(
        [find_program("nginx"), "-v"], capture_output=True, text=True, check=True, timeout=10
    )
    return {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "nginx": nginx.stderr.strip().rpartition("/")[2],
        "load_average": f"{os.getloadavg()[0]:.1f}",
    }
