"""The gateway as a whole: its workers, names and limits, as they are now."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from tidegate import __version__
from tidegate.config.snapshot import KeySnapshot, LimitSnapshot, Snapshot
from tidegate.control.live.answers import InstanceAnswer, LimitInfo, LimitTotals, WorkerState
from tidegate.control.live.measures import LineKey
from tidegate.memory import InstanceWord, Segment, SlotState, SlotWord
from tidegate.metrics.families.rate_limits import DECISIONS
from tidegate.metrics.families.requests import REQUESTS_IN_FLIGHT
from tidegate.metrics.registry import Registry

MOST_KEYS: Final = 1_000

_STATES: Final[dict[int, Literal["starting", "ready", "draining"]]] = {
    SlotState.STARTING: "starting",
    SlotState.READY: "ready",
    SlotState.DRAINING: "draining",
}


class Overview:
    """Describes one instance.

    Args:
        registry: Control's.
        snapshot: The configuration in force.
        keys: Every key in force.
        address: Where clients reach the gateway.
    """

    def __init__(
        self, registry: Registry, snapshot: Snapshot, keys: Sequence[KeySnapshot], address: str
    ) -> None:
        self._registry = registry
        self._segment: Segment = registry.segment
        self.snapshot = snapshot
        self.address = address
        self._keys: Sequence[KeySnapshot] = ()
        self._names: dict[str, str] = {}
        self._listed: list[str] = []
        self.keys = keys

    @property
    def keys(self) -> Sequence[KeySnapshot]:
        """Every key in force."""
        return self._keys

    @keys.setter
    def keys(self, keys: Sequence[KeySnapshot]) -> None:
        self._keys = keys
        taken: set[str] = set()
        self._names = {}
        for key in keys:
            # Of two keys with one name (file and database) the second is shown by its id.
            self._names[key.id] = key.id if key.name in taken else key.name
            taken.add(key.name)
        self._listed = sorted(taken)[:MOST_KEYS]

    def key_name(self, key_id: str) -> str:
        """Return the name of a key; its id when it is no longer in force."""
        return self._names.get(key_id, key_id or "none")

    def instance(self, latest: Mapping[LineKey, float]) -> InstanceAnswer:
        """Return everything, with the workers' figures of the *latest* reading."""
        snapshot, words = self.snapshot, self._segment.words
        started_ns = words[InstanceWord.STARTED_AT_NS]
        workers = self._workers(latest)
        return InstanceAnswer(
            name=socket.gethostname(),
            version=__version__,
            started_ms=started_ns // 1_000_000,
            uptime_s=round(max(0.0, (time.time_ns() - started_ns) / 1e9), 3),
            generation=words[InstanceWord.GENERATION],
            address=self.address,
            ready=any(worker.state == "ready" for worker in workers),
            workers=workers,
            providers=sorted(provider.name for provider in snapshot.providers),
            models=sorted(model.name for model in snapshot.models),
            limits=[_limit(limit) for limit in snapshot.limits],
            keys=self._listed,
        )

    def limit_totals(self) -> list[LimitTotals]:
        """Return every limit with what it has decided since the instance started."""
        places = self._registry.places_of(DECISIONS)
        views = [self._segment.cells(slot) for slot in range(self._segment.slots)]

        def total(limit: str, decision: str) -> int:
            first = places.get((limit, decision))
            return 0 if first is None else int(sum(view[first] for view in views))

        found = []
        for limit in self.snapshot.limits:
            info = _limit(limit)
            found.append(
                LimitTotals(
                    name=info.name,
                    per=info.per,
                    requests=info.requests,
                    window_s=info.window_s,
                    burst=info.burst,
                    mode=info.mode,
                    allowed_total=total(limit.name, "allowed"),
                    blocked_total=total(limit.name, "blocked"),
                    near_total=total(limit.name, "near"),
                    shadow_total=total(limit.name, "shadow"),
                )
            )
        return found

    def _workers(self, latest: Mapping[LineKey, float]) -> list[WorkerState]:
        segment = self._segment
        in_flight = self._registry.places_of(REQUESTS_IN_FLIGHT).get(())
        found = []
        for slot in segment.worker_slots:
            state = _STATES.get(segment.get(slot, SlotWord.STATE))
            if state is None:
                continue
            memory = latest.get(LineKey("worker", "memory_bytes", str(slot)))
            running = 0.0 if in_flight is None else segment.cells(slot)[in_flight]
            found.append(
                WorkerState(
                    worker=slot,
                    state=state,
                    connections=segment.get(slot, SlotWord.CONNECTIONS),
                    in_flight=max(0, int(running)),
                    cpu_ratio=latest.get(LineKey("worker", "cpu_ratio", str(slot))),
                    memory_bytes=None if memory is None else int(memory),
                    loop_lag_s=latest.get(LineKey("worker", "loop_lag_s", str(slot))),
                    restarts=max(0, segment.get(slot, SlotWord.INCARNATION) - 1),
                )
            )
        return found


def _limit(limit: LimitSnapshot) -> LimitInfo:
    is_timed = limit.unit != "concurrency"
    return LimitInfo(
        name=limit.name,
        per=limit.per,
        requests=limit.amount if is_timed else None,
        window_s=limit.window_ns / 1e9 if is_timed else None,
        burst=limit.burst if is_timed else limit.amount,
        mode=limit.mode,
    )
