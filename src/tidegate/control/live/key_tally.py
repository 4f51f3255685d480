"""Usage by key, counted as the ledger folds it: no label of the metrics page names a key."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from tidegate.control.live.ring import Frame, RingSeries
from tidegate.ledger.store import RollupKey, Sums
from tidegate.metrics.family import OTHER

KEY_FAMILIES: Final = (
    "live_key_requests",
    "live_key_input_tokens",
    "live_key_output_tokens",
    "live_key_cost_usd",
)
MOST_KEYS: Final = 200
"""Keys counted by themselves, the first ones to be used; further ones are `other`."""

_REQUESTS: Final = Sums._fields.index("requests")
_INPUT: Final = Sums._fields.index("input_tokens")
_OUTPUT: Final = Sums._fields.index("output_tokens")
_COST: Final = Sums._fields.index("cost_nano_usd")

Usage = tuple[float, float, float, float]


class KeyTally:
    """Requests, tokens and dollars of each key since the instance started.

    The ledger's thread adds, the loop's reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage: dict[str, Usage] = {}

    def add(self, rollups: Mapping[RollupKey, list[int]]) -> None:
        """Count what one committed batch of the ledger has added to the sums."""
        with self._lock:
            for (_, key_id, _), sums in rollups.items():
                self._count(
                    key_id,
                    (
                        float(sums[_REQUESTS]),
                        float(sums[_INPUT]),
                        float(sums[_OUTPUT]),
                        sums[_COST] / 1e9,
                    ),
                )

    def go_on_from(self, series: Iterable[RingSeries], frame: Frame) -> None:
        """Begin with what a predecessor had counted in the same life of the instance."""
        with self._lock:
            for one in series:
                if one.family in KEY_FAMILIES and one.first < len(frame.cells):
                    place = KEY_FAMILIES.index(one.family)
                    amounts = [0.0, 0.0, 0.0, 0.0]
                    amounts[place] = frame.cells[one.first]
                    self._count(one.values[0], (amounts[0], amounts[1], amounts[2], amounts[3]))

    def read(self) -> list[tuple[str, Usage]]:
        """Return the usage of each key id; `other` is that of the rest."""
        with self._lock:
            return list(self._usage.items())

    def _count(self, key_id: str, more: Usage) -> None:
        if key_id not in self._usage and len(self._usage) >= MOST_KEYS:
            key_id = OTHER
        before = self._usage.get(key_id, (0.0, 0.0, 0.0, 0.0))
        self._usage[key_id] = (
            before[0] + more[0],
            before[1] + more[1],
            before[2] + more[2],
            before[3] + more[3],
        )
