"""The cases of alerts: series as promtool writes them, and what is to fire when.

`alert_cases/NAME.yml` holds the cases of one alert:

    - case: what it shows
      every: 15s                    # between samples and between evaluations
      series: {name{labels}: values}
      checks: [{at: 5m, firing: [{label: value, value: 0.2}]}]
      local: true                   # false: only Prometheus can be in this situation

Series without `job` and `instance` get one of each; each instance gets an `up` and a start time
long ago unless they are given. `value` is what the alert tells; it is there if a text shows it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("alert_cases")
DEFAULTS = {"job": "llm_gateway", "instance": "a"}

_LABEL = re.compile(r'(\w+)="([^"]*)"')
_RUN = re.compile(r"(_|-?[\d.]+)(?:([+-][\d.]+))?(?:x(\d+))?")
_PART_S = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(text: str) -> float:
    """Return a time such as `1m30s`."""
    return sum(
        float(number) * _PART_S[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text)
    )


@dataclass(frozen=True)
class Series:
    """One input series.

    Attributes:
        name: Of its samples.
        labels: All of them.
        values: As in the file.
    """

    name: str
    labels: Mapping[str, str]
    values: str

    @classmethod
    def parse(cls, text: str, values: str) -> Series:
        """Read `name{label="value"}`."""
        name, _, labels = text.partition("{")
        assert isinstance(values, str), f"{text}: quote {values}, it is a number to YAML"
        return cls(name, {**DEFAULTS, **dict(_LABEL.findall(labels))}, values)

    @property
    def selector(self) -> str:
        """The series with all labels."""
        pairs = ",".join(f'{name}="{value}"' for name, value in self.labels.items())
        return f"{self.name}{{{pairs}}}"

    def samples(self, every_s: float) -> Iterator[tuple[float, float]]:
        """Yield time and value of each sample; `_` is none."""
        position = 0
        for item in self.values.split():
            run = _RUN.fullmatch(item)
            assert run is not None, item
            start, step, times = run[1], float(run[2] or 0), int(run[3] or 0)
            # `_x3` is three gaps, `1x3` the value and three more.
            length = (times or 1) if start == "_" else times + 1
            for number in range(length):
                if start != "_":
                    yield position * every_s, float(start) + number * step
                position += 1


@dataclass(frozen=True)
class Check:
    """What is to fire at a time.

    Attributes:
        at_s: When.
        firing: For each alert its labels beside the rule's, and its value if that is told.
    """

    at_s: float
    firing: list[tuple[dict[str, str], float | None]]


@dataclass(frozen=True)
class Case:
    """One case of one alert."""

    alert: str
    case: str
    every_s: float
    series: list[Series]
    checks: list[Check]
    local: bool = field(default=True)

    @property
    def length(self) -> int:
        """Samples until the last check."""
        return int(max(check.at_s for check in self.checks) / self.every_s) + 1

    @property
    def instances(self) -> list[str]:
        """Who there is."""
        return sorted({series.labels["instance"] for series in self.series})


def cases_of(alert: str) -> list[Case]:
    """Return the cases of an alert."""
    return [_case(alert, one) for one in yaml.safe_load((FOLDER / f"{alert}.yml").read_text())]


def _case(alert: str, given: dict[str, Any]) -> Case:
    unknown = given.keys() - {"case", "every", "series", "checks", "local"}
    assert not unknown
    series = [Series.parse(text, values) for text, values in given["series"].items()]
    checks = [
        Check(seconds(check["at"]), [_expected(one) for one in check["firing"]])
        for check in given["checks"]
    ]
    every_s = seconds(given.get("every", "15s"))
    case = Case(alert, given["case"], every_s, series, checks, given.get("local", True))
    names = {one.name for one in series}
    for instance in case.instances:
        labels = {**DEFAULTS, "instance": instance}
        if "up" not in names:
            series.append(Series("up", labels, f"1x{case.length}"))
        if "process_start_time_seconds" not in names:
            series.append(Series("process_start_time_seconds", labels, f"-1000000x{case.length}"))
    return case


def _expected(given: dict[str, Any]) -> tuple[dict[str, str], float | None]:
    labels = {name: text for name, text in given.items() if name != "value"}
    return labels, float(given["value"]) if "value" in given else None


class CaseReadings:
    """`Readings` of one instance of a case, as a ring holds them that has run from its start.

    Attributes:
        now_s: Time of the evaluation.
    """

    def __init__(self, case: Case, instance: str) -> None:
        self.now_s = 0.0
        self._every_s = case.every_s
        self._series: dict[str, list[_Sampled]] = {}
        for series in case.series:
            if series.labels["instance"] == instance:
                self._series.setdefault(series.name, []).append(_Sampled(series, case.every_s))

    def increase(
        self,
        family: str,
        window_s: float,
        match: Mapping[str, str | frozenset[str]] = {},
        by: tuple[str, ...] = (),
    ) -> dict[tuple[str, ...], float]:
        return self._sums(family, match, by, lambda one: one.grown(self.now_s, window_s))

    def value(
        self,
        family: str,
        match: Mapping[str, str | frozenset[str]] = {},
        by: tuple[str, ...] = (),
    ) -> dict[tuple[str, ...], float]:
        return self._sums(family, match, by, lambda one: one.at(self.now_s))

    def maximum(
        self,
        family: str,
        window_s: float,
        match: Mapping[str, str | frozenset[str]] = {},
        by: tuple[str, ...] = (),
    ) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        time_s = max(0.0, self.now_s - window_s)
        while time_s <= self.now_s:
            for key, value in self._sums(
                family, match, by, lambda one, at_s=time_s: one.at(at_s)
            ).items():
                found[key] = max(found.get(key, value), value)
            time_s += self._every_s
        return found

    def _sums(self, family, match, by, read) -> dict[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for one in self._series.get(family, ()):
            if all(
                one.labels.get(name, "") in ({wanted} if isinstance(wanted, str) else wanted)
                for name, wanted in match.items()
            ):
                value = read(one)
                if value is not None:
                    key = tuple(one.labels.get(name, "") for name in by)
                    found[key] = found.get(key, 0.0) + value
        return found


class _Sampled:
    def __init__(self, series: Series, every_s: float) -> None:
        self.labels = series.labels
        samples = list(series.samples(every_s))
        self._times = [time_s for time_s, _ in samples]
        self._values = [value for _, value in samples]

    def at(self, time_s: float) -> float | None:
        place = bisect_right(self._times, time_s)
        return self._values[place - 1] if place else None

    def grown(self, now_s: float, window_s: float) -> float | None:
        end = bisect_right(self._times, now_s)
        if not end:
            return None
        start = bisect_right(self._times, now_s - window_s) - 1
        if start >= 0:
            before = self._values[start]
        else:
            # There from the first reading on, or begun since.
            before = self._values[0] if self._times[0] == 0 else 0.0
        assert self._values[max(start, 0) : end] == sorted(self._values[max(start, 0) : end])
        return self._values[end - 1] - before
