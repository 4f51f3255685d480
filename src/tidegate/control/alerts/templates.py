"""Texts of alerts: the part of Prometheus' template language that ours use, filled in here too.

`{{ $labels.NAME }}` and `{{ $value | FUNCTION }}` with `humanize`,
`humanizePercentage` or `humanizeDuration`, which print what Prometheus prints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

_ACTION = re.compile(r"\{\{(.*?)\}\}")
_LABEL = re.compile(r" \$labels\.(\w+) ")
_VALUE = re.compile(r" \$value \| (\w+) ")

_LARGE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("", "m", "u", "n", "p", "f", "a", "z", "y")


def labels_of(template: str) -> set[str]:
    """Return the labels that *template* shows.

    Raises:
        ValueError: It holds something that is not known here.
    """
    found = set()
    for action in _ACTION.findall(template):
        if label := _LABEL.fullmatch(action):
            found.add(label[1])
        else:
            _function(action)
    return found


def filled(template: str, labels: Mapping[str, str], value: float) -> str:
    """Return *template* with labels and value; a label that is not there is empty."""

    def one(action: re.Match[str]) -> str:
        if label := _LABEL.fullmatch(action[1]):
            return labels.get(label[1], "")
        return _function(action[1])(value)

    return _ACTION.sub(one, template)


def _function(action: str) -> Callable[[float], str]:
    value = _VALUE.fullmatch(action)
    if value is None or value[1] not in _FUNCTIONS:
        raise ValueError(f"{{{{{action}}}}} is not understood")
    return _FUNCTIONS[value[1]]


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _prefixed(value: float) -> tuple[float, str]:
    """Return *value* between 1 and 1000 and the prefix that makes up for it."""
    place = 0
    if abs(value) >= 1:
        while abs(value) >= 1000 and place + 1 < len(_LARGE):
            value /= 1000
            place += 1
        return value, _LARGE[place]
    while abs(value) < 1 and place + 1 < len(_SMALL):
        value *= 1000
        place += 1
    return value, _SMALL[place]


def _humanize(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return _plain(value)
    number, prefix = _prefixed(value)
    return _plain(number) + prefix


def _humanize_percentage(value: float) -> str:
    return _plain(value * 100) + "%"


def _humanize_duration(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return _plain(value) + "s"
    if abs(value) < 1:
        return _humanize(value) + "s"
    whole = int(abs(value))
    if whole < 60:
        return _plain(value) + "s"
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    while not parts[0][0]:
        del parts[0]
    return ("-" if value < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts)


_FUNCTIONS: Mapping[str, Callable[[float], str]] = {
    "humanize": _humanize,
    "humanizePercentage": _humanize_percentage,
    "humanizeDuration": _humanize_duration,
}
