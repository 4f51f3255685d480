"""Writes docs/reference/metrics.md from the declarations: `python -m tidegate.metrics.reference`.

With a path as argument it writes there, otherwise to standard output.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tidegate.metrics.families import declared
from tidegate.metrics.family import Family
from tidegate.metrics.text import number

_INTRODUCTION = """\
# Metrics

<!-- Written by `python -m tidegate.metrics.reference`; change the declarations instead. -->

`GET /api/v1/metrics` (alias `/metrics`) on the data port. The default format is
`text/plain; version=0.0.4`; OpenMetrics 1.0.0 and gzip are given to scrapers that ask for them.
[Who may read it](../guides/metrics-access.md) is configurable.

The numbers are those of the whole instance, whichever process answers, and no counter falls while
the instance lives: a worker that dies, by `kill -9` too, leaves its counts to its successor. A
histogram's sum may lack one observation for each such death.

Every family shows HELP and TYPE from the first scrape on. No label value is text that a client
chose. A family has at most 2,000 series by default (`metrics.max_series_per_family`), all
together 8,000; what comes later is counted in the series whose label values are `other`, and
`tidegate_metrics_series_dropped_total` says so. `worker` is the number of a worker's slot.

Names are stable. A family that is renamed is shown under both names for one minor version.
OpenMetrics pages carry [exemplars](../guides/metrics.md#from-a-bucket-to-a-request) on request
durations and times to the first token.
"""


def render() -> str:
    """Return the whole page."""
    families = declared()
    rows = [
        f"| [`{f.name}`](#{f.name}) | {f.kind} | {_labels(f)} | {f.unit} | {_moves(f)} |"
        for f in families
    ]
    table = ["| metric | type | labels | unit | moves |", "|---|---|---|---|---|", *rows]
    return "\n".join([_INTRODUCTION, *table, "", *(_section(f) for f in families)])


def _labels(family: Family) -> str:
    return ", ".join(f"`{label}`" for label in family.labels) or "none"


def _moves(family: Family) -> str:
    return family.moves or ("worked out at each scrape" if family.computed else "")


def _section(family: Family) -> str:
    lines = [f"## {family.name}", "", f"{family.kind.capitalize()}. {family.help}", ""]
    for label in family.labels:
        if label not in family.values:
            lines.append(f"- `{label}`: a name from the configuration or the program")
            continue
        values = sorted(family.values[label])
        if len(values) > 32:
            lines.append(f"- `{label}`: `{values[0]}` to `{values[-1]}`")
        else:
            lines.append(f"- `{label}`: " + ", ".join(f"`{value}`" for value in values))
    if family.buckets:
        lines.append("- buckets: " + ", ".join(number(bound) for bound in family.buckets))
    if family.kind == "gauge" and not family.computed and family.merge == "max":
        lines.append("- the greatest value of any process")
    if family.merge == "latest":
        lines.append("- the value that any process was told last")
    if family.former_name is not None:
        lines.append(f"- also shown as `{family.former_name}`, its former name, for now")
    if lines[-1]:
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Write the page to the path in *arguments*, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main(sys.argv[1:])
