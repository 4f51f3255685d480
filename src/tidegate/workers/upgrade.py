"""One upgrade in place: check the installed version, then become it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.control.eventlog import EventLog
from tidegate.workers.fleet import Fleet
from tidegate.workers.handover import HANDOVER_VERSION, Handover, give
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Overrides
from tidegate.workers.preflight import Preflight

RETRY_S: Final = 0.2


class Upgrade:
    """Calls `failed` when the running version stays; otherwise this program ends here."""

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        log: EventLog,
        overrides: Overrides,
        segment_fd: int,
        *,
        describe: Callable[[], Handover],
        failed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fleet = fleet
        self._log = log
        self._describe = describe
        self._failed = failed
        self._preflight: Preflight | None = Preflight(
            loop, overrides, segment_fd, HANDOVER_VERSION, self._checked
        )
        log.info("checking the installed version")

    def reap(self) -> None:
        """Look whether the check has ended; called at each SIGCHLD."""
        if self._preflight is not None:
            self._preflight.reap()

    def _checked(self, is_good: bool) -> None:
        self._preflight = None
        if is_good:
            self._hand_over()
        else:
            self._give_up("the installed version cannot take over")

    def _hand_over(self) -> None:
        if self._fleet.stopping:
            self._give_up("the gateway stops")
        elif not self._fleet.is_settled:
            self._loop.call_later(RETRY_S, self._hand_over)
        else:
            try:
                give(self._describe())
            except OSError as error:
                self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        self._log.error("not upgraded, the running version stays", reason=reason)
        self._failed()
