"""`tidegate serve`: owns the listener and the shared memory, keeps the children, obeys signals.

It does no request work. Children import their code while the configuration is read: that
halves the time to the first answer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from contextlib import AbstractContextManager
from typing import Final

from tidegate import __version__
from tidegate.control.eventlog import EventLog
from tidegate.control.messages import (
    Applied,
    Configure,
    Drained,
    FirstKey,
    Keys,
    Leaving,
    Message,
    Refused,
    WorkerDied,
)
from tidegate.errors import ConfigError
from tidegate.memory import InstanceWord, Segment
from tidegate.workers.child import Child, DeathReason, Seat
from tidegate.workers.figures import SupervisorFigures
from tidegate.workers.fleet import Fleet
from tidegate.workers.instance_lock import InstanceBusy, InstanceLock
from tidegate.workers.listener import ListenError, listen, listening_url
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Overrides, Plan, load_plan
from tidegate.workers.reload import Reload
from tidegate.workers.sdnotify import SystemdNotifier
from tidegate.workers.shutdown import Shutdown
from tidegate.workers.spawn import WORKER, EarlyChildren
from tidegate.workers.watchdog import Watchdog
from tidegate.workers.welcome import welcome_text

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
FATAL_DEATHS: Final = 3
"""Deaths before the first `ready` after which the start has failed."""
PORT_PATIENCE_S: Final = 3.0
"""After a kill -9 of the last supervisor: how long its workers may take to let the port go."""


class StartFailed(Exception):
    """The gateway cannot start; the message is for the operator."""


class Supervisor:
    """One gateway instance.

    Args:
        overrides: From the command line.
        early: The first children, already started.
        worker_module: Program of the other workers (tests have another data plane).
    """

    def __init__(
        self, overrides: Overrides, early: EarlyChildren, *, worker_module: str = WORKER
    ) -> None:
        self._overrides = overrides
        self._log = EventLog("supervisor")
        self._loop = Loop()
        self._fleet = Fleet(self._loop, self._log, self, worker_module=worker_module)
        first = Seat("worker", 1)
        self._fleet.seats.append(first)
        self._fleet.take_early(self._fleet.control, early.control)
        self._fleet.take_early(first, early.worker)
        self._notifier = SystemdNotifier()
        self._started_s = time.monotonic()
        self._served = False
        self._early_deaths = 0
        self._generation = 0
        self._failure: str | None = None
        self._reload: Reload | None = None
        self._reload_again = False
        self._shutdown: Shutdown | None = None
        self._first_key: FirstKey | None = None
        self._url = ""
        self._plan: Plan
        self._segment: Segment
        self._figures: SupervisorFigures | None = None
        self._listener: socket.socket
        self._lock: InstanceLock | None = None

    # Life

    def run(self) -> int:
        """Serve until a signal ends it; return the exit code."""
        try:
            self._start()
            self._loop.run()
        except StartFailed as failure:
            self._fail(str(failure))
        finally:
            self._kill_all()
        if self._failure is not None:
            sys.stderr.write(f"tidegate: {self._failure}\n")
            return EXIT_FAILED
        self._log.info("stopped", uptime_s=round(time.monotonic() - self._started_s, 1))
        if self._lock is not None:
            self._lock.release()
        return EXIT_OK

    def _start(self) -> None:
        self._loop.on_signal(signal.SIGCHLD, self._fleet.reap)
        self._loop.on_signal(signal.SIGTERM, self._on_terminate)
        self._loop.on_signal(signal.SIGINT, self._on_terminate)
        self._loop.on_signal(signal.SIGHUP, self._on_hangup)
        self._fleet.reap()  # whoever died before SIGCHLD was heard
        self._plan = self._load_first_plan()
        self._log.set_level(self._plan.log_level)
        patience_s = self._take_lock()
        try:
            self._listener = listen(self._plan.host, self._plan.port, patience_s=patience_s)
        except ListenError as error:
            raise StartFailed(str(error)) from error
        self._url = listening_url(self._listener, self._plan.host, tls=self._plan.tls)
        try:
            self._segment = Segment.create(worker_slots=2 * self._plan.workers + 2)
        except OSError as error:
            raise StartFailed(f"no shared memory: {error.strerror}") from error
        self._figures = SupervisorFigures(self._segment)
        self._put_in_force(self._plan, first_start=True)
        self._fleet.open(self._segment, self._listener.fileno())
        for number in range(2, self._plan.workers + 1):
            seat = Seat("worker", number)
            self._fleet.seats.append(seat)
            self._fleet.fill(seat)
        Watchdog(self._loop, self._fleet, self._segment, self._log, self._plan.hang_timeout_s)
        self._figures.keep_up(self._loop)
        self._ping_systemd()

    def _load_first_plan(self) -> Plan:
        try:
            return load_plan(self._overrides, self._next_generation())
        except ConfigError as error:
            lines = "\n".join(f"  {path}: {reason}" for path, reason in error.problems)
            raise StartFailed(f"the configuration cannot be used\n{lines}") from error

    def _take_lock(self) -> float:
        """Lock the data directory; return how long to wait for a port still in use."""
        try:
            self._lock = InstanceLock.take(self._plan.data_dir)
        except InstanceBusy as error:
            raise StartFailed(str(error)) from error
        except OSError as error:
            raise StartFailed(
                f"cannot use the data directory {self._plan.data_dir}: {error.strerror}"
            ) from error
        return PORT_PATIENCE_S if self._lock.after_kill else 0.0

    def _put_in_force(self, plan: Plan, *, first_start: bool = False) -> None:
        """Make *plan* what every process that starts from now on gets."""
        self._plan = plan
        self._generation = plan.generation
        for warning in plan.warnings:
            self._log.warning("configuration", warning=warning)
        self._fleet.configure = Configure(plan.generation, plan.snapshot)
        self._fleet.control_configure = Configure(
            plan.generation, plan.snapshot, plan.config_keys, plan.no_key, first_start
        )
        self._segment.words[InstanceWord.GENERATION] = plan.generation

    def _next_generation(self) -> int:
        return self._generation + 1

    def _kill_all(self) -> None:
        """End what is left. Nothing is, after an orderly end."""
        self._fleet.stopping = True
        for child in list(self._fleet.children.values()):
            self._fleet.kill(child, None)
        give_up_at = time.monotonic() + 5.0
        while self._fleet.children and time.monotonic() < give_up_at:
            self._fleet.reap()
            time.sleep(0.002)
        self._loop.close()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
        self._loop.stop()

    def _ping_systemd(self) -> None:
        if self._notifier.watchdog_s is not None:
            self._notifier.watchdog()
            self._loop.call_later(self._notifier.watchdog_s / 2, self._ping_systemd)

    # News of the children (see `FleetOwner`)

    def child_ready(self, child: Child) -> None:
        """Log it; announce the gateway once everybody of the first start is there."""
        self._log.info(
            "process ready", child=child.name, pid=child.pid, incarnation=child.incarnation
        )
        if self._reload is not None:
            self._reload.child_ready(child)
        if self._shutdown is not None:
            self._shutdown.child_ready(child)
        elif not self._served:
            self._announce()

    def _announce(self) -> None:
        seats = [self._fleet.control, *self._fleet.seats]
        if len(seats) != self._plan.workers + 1:
            return
        if any(seat.current is None or seat.current.ready_since_s is None for seat in seats):
            return
        self._served = True
        self._fleet.control_configure = Configure(
            self._plan.generation, self._plan.snapshot, self._plan.config_keys
        )
        sys.stdout.write(welcome_text(self._url, self._first_key, self._plan))
        sys.stdout.flush()
        self._first_key = None
        ready_s = time.monotonic() - self._started_s
        self._log.info(
            "ready",
            url=self._url,
            workers=self._plan.workers,
            version=__version__,
            start_s=round(ready_s, 3),
        )
        self._notifier.ready(f"serving on {self._url} with {self._plan.workers} workers")

    def child_superseded(self, child: Child) -> None:
        """A replacement is ready: let the one before drain."""
        self._log.info("draining a replaced worker", worker=child.slot, pid=child.pid)
        self._fleet.drain(child, self._plan.replace_drain())

    def child_said(self, child: Child, message: Message) -> None:
        """Obey or pass on."""
        match message:
            case Keys():
                self._fleet.keys = message
                self._segment.words[InstanceWord.KEYS_GENERATION] = message.generation
                self._fleet.broadcast(message)
            case Applied():
                child.generation = message.generation
                if self._reload is not None:
                    self._reload.applied(child, message.generation)
            case Refused():
                self._on_refused(child, message)
            case FirstKey():
                self._first_key = message
            case Leaving():
                self._log.info("a worker was asked to leave", worker=child.slot, pid=child.pid)
                self._fleet.replace(child)
            case Drained():
                self._log.info("drained", child=child.name, pid=child.pid, cut=message.cut)
            case _:
                self._log.error("unexpected message", child=child.name)

    def _on_refused(self, child: Child, message: Refused) -> None:
        reasons = [f"{path}: {reason}" for path, reason in message.problems]
        if not self._served:
            self._fail("it cannot start\n" + "\n".join(f"  {line}" for line in reasons))
        elif self._reload is not None:
            self._reload.refused(child, message)
        else:
            self._log.error("a process refused", child=child.name, problems=reasons)

    def child_died(self, child: Child, reason: DeathReason, how: str) -> None:
        """Count, tell control, give up a start that cannot succeed."""
        if self._shutdown is not None:
            self._shutdown.child_died(child)
            return
        if self._fleet.stopping:
            return
        level = self._log.info if reason == "replaced" else self._log.error
        level(
            "process ended",
            child=child.name,
            pid=child.pid,
            reason=reason,
            how=how,
            served_s=round(child.served_s, 1),
        )
        if child.is_worker and child.slot >= 0 and self._figures is not None:
            self._figures.worker_ended(reason)
            control = self._fleet.control.current
            if control is not None:
                self._fleet.send(
                    control, WorkerDied(child.slot, child.incarnation, child.pid, reason)
                )
        if self._reload is not None:
            self._reload.child_died(child)
        if not self._served:
            self._early_deaths += 1
            if self._early_deaths >= FATAL_DEATHS:
                self._fail(f"{child.name} cannot start: it ended with {how}")

    def reaping(self) -> AbstractContextManager[None]:
        """Mark the time of a reaping for those who read the page."""
        return contextlib.nullcontext() if self._figures is None else self._figures.reaping()

    def bury(self, child: Child, usage: resource.struct_rusage | None) -> None:
        """Close the books of a dead child's slot, then free it."""
        if self._figures is not None:
            self._figures.bury(child.slot, usage)

    # Signals

    def _on_terminate(self) -> None:
        if not self._served:
            self._log.info("stopped before it was ready")
            self._loop.stop()
        elif self._shutdown is None:
            self._notifier.stopping()
            self._shutdown = Shutdown(
                self._loop, self._fleet, self._log, self._plan, self._listener.close
            )
        else:
            self._shutdown.hurry()

    def _on_hangup(self) -> None:
        if not self._served or self._shutdown is not None:
            return
        if self._reload is not None:
            self._reload_again = True
            return
        self._notifier.reloading()
        try:
            plan = load_plan(self._overrides, self._next_generation(), previous=self._plan)
        except ConfigError as error:
            self._reload_ended(None, [f"{path}: {reason}" for path, reason in error.problems])
            return
        for setting in plan.needs_restart:
            self._log.warning("changed, but takes effect only at a restart", setting=setting)
        self._generation = plan.generation
        self._reload = Reload(self._loop, self._fleet, plan, self._reload_ended)

    def _reload_ended(self, plan: Plan | None, problems: list[str]) -> None:
        """A reload is over: *plan* is in force on a first worker, or None and the problems."""
        self._reload = None
        if plan is not None:
            self._put_in_force(plan)
            self._log.set_level(plan.log_level)
            self._log.info("configuration reloaded", generation=plan.generation)
            for child in self._fleet.workers():
                if child.generation != plan.generation and self._fleet.configure is not None:
                    self._fleet.send(child, self._fleet.configure)
            control = self._fleet.control.current
            if control is not None and self._fleet.control_configure is not None:
                self._fleet.send(control, self._fleet.control_configure)
        else:
            self._log.error("configuration refused, the old one stays", problems=problems)
        if self._figures is not None:
            self._figures.reload_ended(plan is not None)
        self._notifier.ready(f"serving on {self._url}")
        if self._reload_again:
            self._reload_again = False
            self._on_hangup()


def main(overrides: Overrides, early: EarlyChildren) -> int:
    """Run one gateway in this process; return its exit code."""
    os.umask(0o077)
    return Supervisor(overrides, early).run()
