"""The live view of one instance: reads it once a second, keeps the readings, tells viewers."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from tidegate.config.snapshot import KeySnapshot, Snapshot
from tidegate.control.eventlog import EventLog
from tidegate.control.live.alerting import Alerting
from tidegate.control.live.answers import (
    AlertsAnswer,
    InstanceAnswer,
    LimitsAnswer,
    RequestsAnswer,
    SampleEvent,
    SampleSeries,
    Series,
    SeriesAnswer,
)
from tidegate.control.live.history import History
from tidegate.control.live.hub import Hub
from tidegate.control.live.key_tally import KeyTally
from tidegate.control.live.measures import By, LineKey
from tidegate.control.live.near import NearLimits
from tidegate.control.live.overview import Overview
from tidegate.control.live.recent import RecentRequests
from tidegate.control.live.ring import (
    COARSE,
    FINE,
    MAX_COLUMNS,
    RING_FILE,
    Frame,
    Ring,
    Tier,
    open_ring,
)
from tidegate.control.live.sampler import Sampler
from tidegate.metrics.registry import Registry

Range = Literal["15m", "24h"]

MOST_EVENT_ROWS: Final = 100
ALERTS_EVERY_S: Final = 5
OPEN_AGAIN_S: Final = 0.2
LABELS_EVERY_S: Final = 60

_TIERS: Final[dict[str, Tier]] = {FINE.name: FINE, COARSE.name: COARSE}
_encode = msgspec.json.Encoder().encode


class LiveService:
    """Everything that the admin API tells. Make it, `begin`, ask; `close` at the end.

    Args:
        registry: Control's.
        snapshot: The configuration in force.
        keys: All keys in force.
        address: Where clients reach the gateway.
        log: For what an operator should hear.
        wall_s: Unix time.

    Attributes:
        hub: Viewers of the event stream.
        recent: Recent requests.
        tally: Usage by key; the ledger's fold adds to it.
    """

    def __init__(
        self,
        registry: Registry,
        snapshot: Snapshot,
        keys: Sequence[KeySnapshot],
        address: str,
        log: EventLog,
        *,
        tally: KeyTally | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._log = log
        self._wall_s = wall_s
        self._overview = Overview(registry, snapshot, keys, address)
        self._near: asyncio.Task[NearLimits] | None = None
        self._ring: Ring | None = None
        self._history: History | None = None
        self._sampler: Sampler | None = None
        self._alerting = Alerting()
        self._highest: array[float] = array("d")
        self._task: asyncio.Task[None] | None = None
        self._told_instance: object = None
        self._told_alerts: AlertsAnswer | None = None
        self._told_rows = 0
        self._second = 0
        self.hub = Hub()
        self.recent = RecentRequests(registry.segment)
        self.tally = KeyTally() if tally is None else tally

    def begin(self) -> None:
        """Open the ring and read the instance once a second from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End all streams and stop reading; the ring keeps what it has."""
        self.hub.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def configure(self, snapshot: Snapshot, address: str) -> None:
        """Go on with another configuration."""
        self._overview.snapshot = snapshot
        self._overview.address = address
        self._near = None

    def set_keys(self, keys: Sequence[KeySnapshot]) -> None:
        """Go on with another table of keys."""
        self._overview.keys = keys
        self._near = None

    # ------------------------------------------------------------------ answers

    def instance(self) -> InstanceAnswer:
        """Answer `GET /api/instance`."""
        return self._overview.instance(self._history.latest if self._history else {})

    def series(self, span: Range, by: By) -> SeriesAnswer:
        """Answer `GET /api/series`."""
        tier = _TIERS[span]
        history = self._history
        lines = []
        newest_s = 0
        if history is not None:
            newest_s = history.newest_s(tier)
            for key, unit, values in history.values(tier, by):
                lines.append(Series(key.name, unit, self._labels(key), values))
        if not newest_s:
            newest_s = int(self._wall_s()) // tier.step_s * tier.step_s
        return SeriesAnswer(
            range=span,
            step_s=tier.step_s,
            start_ms=(newest_s - (tier.frames - 1) * tier.step_s) * 1000,
            count=tier.frames,
            series=lines,
        )

    def sample(self) -> SampleEvent:
        """Return the newest reading."""
        history = self._history
        if history is None:
            return SampleEvent(0, [])
        return SampleEvent(
            history.latest_s * 1000,
            [
                SampleSeries(key.name, self._labels(key), key.by, value)
                for key, value in history.active()
            ],
        )

    async def limits(self) -> LimitsAnswer:
        """Answer `GET /api/limits`."""
        near = self._near
        if near is None or (near.done() and (near.cancelled() or near.exception() is not None)):
            near = self._near = asyncio.get_running_loop().create_task(self._make_near())
        # Shielded: others may wait for the same one.
        subjects = (await asyncio.shield(near)).subjects()
        return LimitsAnswer(self._overview.limit_totals(), subjects)

    async def _make_near(self) -> NearLimits:
        """Work out every subject's digest: a second and more for 100,000 keys, so on a thread."""
        overview = self._overview
        return await asyncio.to_thread(
            NearLimits, self._registry.segment, overview.snapshot, overview.keys
        )

    def requests(self, most: int) -> RequestsAnswer:
        """Answer `GET /api/requests`."""
        self.recent.look()
        return RequestsAnswer(self.recent.newest(most))

    def alerts(self) -> AlertsAnswer:
        """Answer `GET /api/alerts`."""
        return self._alerting.answer()

    def _labels(self, key: LineKey) -> dict[str, str]:
        if key.by == "total":
            return {}
        label = self._overview.key_name(key.label) if key.by == "key" else key.label
        return {key.by: label}

    # ------------------------------------------------------------------ each second

    async def _run(self) -> None:
        try:
            await self._open()
        except Exception as error:  # noqa: BLE001 (the gateway goes on without a live view)
            self._log.error("the live view cannot begin", error=type(error).__name__)
            return
        while True:
            now_s = self._wall_s()
            # A little behind the full second, where timers that were set to it have run.
            await asyncio.sleep(1.02 - now_s % 1.0)
            try:
                await self._tick()
            except Exception as error:  # noqa: BLE001 (the next second may do better)
                self._log.error(
                    "reading the instance failed", error=type(error).__name__, reason=str(error)
                )

    async def _open(self) -> None:
        path = Path(self._overview.snapshot.data_dir) / RING_FILE
        ring = self._ring = await self._open_ring(path)
        if ring.columns > MAX_COLUMNS // 2:
            ring.forget_idle()
        if not ring.is_kept:
            self._log.warning(
                "no room for the live view's file: its readings end with this process",
                file=str(path),
            )
        self._sampler = Sampler(self._registry, ring, self.tally)
        self._go_on(ring, self._sampler.boot)
        history = History(ring)
        await history.load()
        self._history = history

    async def _open_ring(self, path: Path) -> Ring:
        """Open the file, once the control process before us has let it go."""
        while True:
            try:
                return open_ring(path)
            except BlockingIOError:
                await asyncio.sleep(OPEN_AGAIN_S)

    def _go_on(self, ring: Ring, boot: int) -> None:
        """Take over what a control process before us had counted for this instance."""
        times = [time_s for time_s, of in ring.times(FINE) if of == boot]
        frame = ring.frame(FINE, times[-1]) if times else None
        if frame is not None:
            self.tally.go_on_from(ring.series, frame)

    async def _tick(self) -> None:
        assert self._ring is not None
        assert self._history is not None
        assert self._sampler is not None
        second = int(self._wall_s())
        if second <= self._second:
            return  # the clock was set back: wait until it has caught up
        cells = await self._sampler.read()
        if second // COARSE.step_s != self._second // COARSE.step_s and self._second:
            self._keep_minute(second // COARSE.step_s * COARSE.step_s, cells)
        self._note_highest(cells)
        self._second = second
        self._keep(FINE, second, cells)
        if second % LABELS_EVERY_S == 0 and self._history.choose_again():
            self._history.forget()
            await self._history.load()
        if second % ALERTS_EVERY_S == 0:
            self._alerting.evaluate(self._ring, float(second))
        if len(self.hub):
            self._tell()

    def _keep(self, tier: Tier, time_s: int, cells: array[float]) -> None:
        assert self._ring is not None
        assert self._history is not None
        assert self._sampler is not None
        boot = self._sampler.boot
        self._ring.write(tier, time_s, boot, cells)
        self._history.enter(tier, Frame(time_s, boot, cells))

    def _note_highest(self, cells: array[float]) -> None:
        """A minute is told by the highest value that a gauge had in it."""
        highest = self._highest
        if not highest:
            self._highest = array("d", cells)
            return
        highest.extend(cells[len(highest) :])
        self._highest = array("d", map(max, highest, cells))

    def _keep_minute(self, time_s: int, cells: array[float]) -> None:
        assert self._ring is not None
        self._note_highest(cells)
        minute = array("d", cells)
        for one in self._ring.series:
            if one.kind == "gauge" and one.first < len(minute):
                minute[one.first] = self._highest[one.first]
        self._highest = array("d")
        self._keep(COARSE, time_s, minute)

    def _tell(self) -> None:
        """Send viewers what is new."""
        self.recent.look()
        self.hub.send("sample", _encode(self.sample()))
        rows = self.recent.since(self._told_rows, MOST_EVENT_ROWS)
        self._told_rows = self.recent.taken
        if rows:
            self.hub.send("requests", _encode(RequestsAnswer(rows)))
        alerts = self.alerts()
        if alerts != self._told_alerts:
            self._told_alerts = alerts
            self.hub.send("alerts", _encode(alerts))
        instance = self.instance()
        seen = _lasting(instance)
        if seen != self._told_instance:
            self._told_instance = seen
            self.hub.send("instance", _encode(instance))


def _lasting(instance: InstanceAnswer) -> object:
    """Return what of an instance does not change from second to second."""
    return (
        instance.generation,
        instance.ready,
        [(worker.worker, worker.state, worker.restarts) for worker in instance.workers],
        instance.providers,
        instance.models,
        instance.limits,
        instance.keys,
    )
