"""`tidegate serve`: owns the listener and the shared memory, keeps the children, obeys signals.

It does no request work. Children import their code while the configuration is read: that
halves the time to the first answer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import AbstractContextManager
from typing import Final

from tidegate import __version__
from tidegate.config.snapshot import decode_snapshot, secrets_of
from tidegate.control.eventlog import EventLog
from tidegate.control.messages import (
    Applied,
    Configure,
    Drained,
    FirstKey,
    FirstToken,
    Keys,
    Leaving,
    Message,
    RecentRows,
    Refused,
    WorkerDied,
)
from tidegate.errors import ConfigError
from tidegate.logs.redact import know, redact
from tidegate.logs.uncaught import report_uncaught
from tidegate.memory import InstanceWord
from tidegate.workers.child import Child, DeathReason, Seat
from tidegate.workers.figures import SupervisorFigures
from tidegate.workers.fleet import Fleet
from tidegate.workers.handover import (
    HELD_SIGNALS,
    Handover,
    describe,
    resume_fleet,
    resume_instance,
    take,
)
from tidegate.workers.instance import Instance, StartFailed
from tidegate.workers.loop import Loop
from tidegate.workers.missing_limits import warn_of_missing_limits
from tidegate.workers.plan import Overrides, Plan, load_plan
from tidegate.workers.reload import Reload
from tidegate.workers.rollover import Rollover
from tidegate.workers.sdnotify import SystemdNotifier
from tidegate.workers.shutdown import Shutdown
from tidegate.workers.spawn import WORKER, EarlyChildren
from tidegate.workers.upgrade import Upgrade
from tidegate.workers.watchdog import Watchdog
from tidegate.workers.welcome import welcome_text

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
REPLACE_RETRY_S: Final = 0.5
FATAL_DEATHS: Final = 3
"""Deaths before the first `ready` after which the start has failed."""


class Supervisor:
    """One gateway instance.

    Args:
        overrides: From the command line.
        early: The first children, already started; None takes over from the program that
            this process was before (see `handover`).
        worker_module: Program of the other workers (tests have another data plane).
    """

    def __init__(
        self, overrides: Overrides, early: EarlyChildren | None, *, worker_module: str = WORKER
    ) -> None:
        self._overrides = overrides
        self._log = EventLog("supervisor")
        report_uncaught(lambda event, fields: self._log.error(event, **fields))
        self._loop = Loop(self._on_error)
        self._fleet = Fleet(self._loop, self._log, self, worker_module=worker_module)
        self._notifier = SystemdNotifier()
        self._started_s = time.monotonic()
        self._served = False
        self._early_deaths = 0
        self._generation = 0
        self._failure: str | None = None
        self._reload: Reload | None = None
        self._reload_again = False
        self._upgrade: Upgrade | None = None
        self._rollover: Rollover | None = None
        self._shutdown: Shutdown | None = None
        self._first_key: FirstKey | None = None
        self._first_token: FirstToken | None = None
        self._handover: Handover | None = None
        self._instance: Instance | None = None
        self._figures: SupervisorFigures | None = None
        self._plan: Plan
        if early is not None:
            first = Seat("worker", 1)
            self._fleet.seats.append(first)
            self._fleet.take_early(self._fleet.control, early.control)
            self._fleet.take_early(first, early.worker)
        else:
            self._handover = take()

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
            if self._instance is not None:
                self._instance.lock.release()
        if self._failure is not None:
            sys.stderr.write(redact(f"tidegate: {self._failure}\n"))
            return EXIT_FAILED
        self._log.info("stopped", uptime_s=round(time.monotonic() - self._started_s, 1))
        return EXIT_OK

    def _start(self) -> None:
        self._loop.on_signal(signal.SIGCHLD, self._on_child_signal)
        self._loop.on_signal(signal.SIGTERM, self._on_terminate)
        self._loop.on_signal(signal.SIGINT, self._on_terminate)
        self._loop.on_signal(signal.SIGHUP, self._on_hangup)
        self._loop.on_signal(signal.SIGUSR2, self._on_upgrade)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        handover = self._handover
        instance = self._start_fresh() if handover is None else self._resume(handover)
        self._fleet.reap()  # whoever died before SIGCHLD was heard
        Watchdog(self._loop, self._fleet, instance.segment, self._log, self._plan.hang_timeout_s)
        self._ping_systemd()

    def _start_fresh(self) -> Instance:
        try:
            self._plan = load_plan(self._overrides, 1)
        except ConfigError as error:
            lines = "\n".join(f"  {line}" for line in error.lines())
            raise StartFailed(f"the configuration cannot be used\n{lines}") from error
        self._log.set_level(self._plan.log_level)
        instance = self._hold(Instance.found(self._plan))
        self._put_in_force(self._plan, first_start=True)
        self._fleet.open(instance.segment, instance.listener_fds())
        for number in range(2, self._plan.workers + 1):
            seat = Seat("worker", number)
            self._fleet.seats.append(seat)
            self._fleet.fill(seat)
        return instance

    def _resume(self, handover: Handover) -> Instance:
        """Go on where the program before us stopped, then replace its children."""
        self._served = True
        self._started_s = handover.started_s
        self._generation = handover.generation
        self._plan = handover.plan
        instance = self._hold(resume_instance(handover))
        resume_fleet(handover, self._fleet)
        self._fleet.open(instance.segment, instance.listener_fds())
        try:
            plan = load_plan(self._overrides, self._next_generation(), previous=self._plan)
        except ConfigError as error:
            self._log.error("configuration refused, the old one stays", problems=error.lines())
            plan = self._plan
        self._put_in_force(plan)
        for seat in (self._fleet.control, *self._fleet.seats):
            self._fleet.fill(seat)
        self._log.info("upgraded", version=__version__)
        self._rollover = Rollover(self._loop, self._fleet, self._log, self._rolled_over)
        return instance

    def _hold(self, instance: Instance) -> Instance:
        self._instance = instance
        self._figures = SupervisorFigures(instance.segment)
        self._figures.keep_up(self._loop)
        return instance

    def _put_in_force(self, plan: Plan, *, first_start: bool = False) -> None:
        """Make *plan* what every process that starts from now on gets."""
        assert self._instance is not None
        self._plan = plan
        self._generation = plan.generation
        know(secrets_of(decode_snapshot(plan.snapshot), plan.database))
        for warning in plan.warnings:
            self._log.warning("configuration", warning=warning)
        warn_of_missing_limits(self._log, plan.snapshot, self._fleet.keys)
        self._fleet.configure = Configure(plan.generation, plan.snapshot)
        self._fleet.control_configure = Configure(
            plan.generation,
            plan.snapshot,
            plan.config_keys,
            plan.no_key,
            first_start,
            plan.database,
            self._instance.url,
        )
        self._instance.segment.words[InstanceWord.GENERATION] = plan.generation

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

    def _on_error(self, error: Exception) -> None:
        """An action of ours failed: tell where, and go on, as the children depend on us."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._log.error(
            "the supervisor made a mistake",
            error=type(error).__name__,
            where=f"{where.filename}:{where.lineno} in {where.name}",
        )

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
        if len(self._fleet.seats) != self._plan.workers or not self._fleet.is_settled:
            return
        self._served = True
        assert self._instance is not None
        url = self._instance.url
        assert self._fleet.control_configure is not None
        self._fleet.control_configure = self._fleet.control_configure.once_served()
        warn_of_missing_limits(self._log, self._plan.snapshot, self._fleet.keys)
        with contextlib.suppress(OSError):  # whoever read it may have gone
            sys.stdout.write(welcome_text(url, self._first_key, self._plan, self._first_token))
            sys.stdout.flush()
        self._first_key = self._first_token = None
        ready_s = time.monotonic() - self._started_s
        self._log.info(
            "ready",
            url=url,
            **({"metrics_url": self._instance.page_url} if self._instance.page_url else {}),
            workers=self._plan.workers,
            version=__version__,
            start_s=round(ready_s, 3),
        )
        self._notifier.ready(f"serving on {url} with {self._plan.workers} workers")

    def child_superseded(self, child: Child) -> None:
        """A replacement is ready: let the one before drain."""
        self._log.info("draining a replaced worker", worker=child.slot, pid=child.pid)
        self._fleet.drain(child, self._plan.replace_drain())
        if self._rollover is not None:
            self._rollover.child_superseded(child)

    def successor_died(self, child: Child | None) -> None:
        """A replacement did not get ready: *child*, if any, stays."""
        if self._rollover is not None:
            self._rollover.successor_died(child)

    def child_said(self, child: Child, message: Message) -> None:
        """Obey or pass on."""
        match message:
            case Keys():
                self._on_keys(message)
            case Applied():
                child.generation = message.generation
                if self._reload is not None:
                    self._reload.applied(child, message.generation)
            case Refused():
                self._on_refused(child, message)
            case FirstKey():
                self._first_key = message
            case FirstToken():
                self._first_token = message
            case RecentRows():
                self._on_recent_rows(message)
            case Leaving():
                self._log.info("a worker was asked to leave", worker=child.slot, pid=child.pid)
                self._replace(child)
            case Drained():
                self._log.info("drained", child=child.name, pid=child.pid, cut=message.cut)
            case _:
                self._log.error("unexpected message", child=child.name)

    def _replace(self, child: Child) -> None:
        """Give *child* a successor, as soon as there is a slot for one."""
        if not self._fleet.replace(child) and child.seat.current is child:
            self._loop.call_later(REPLACE_RETRY_S, lambda: self._replace(child))

    def _on_keys(self, message: Keys) -> None:
        """Number and pass on a table of keys, unless a new control sends what all have."""
        before = self._fleet.keys
        if before is not None and before.table == message.table:
            return
        keys = Keys(1 if before is None else before.generation + 1, message.table)
        self._fleet.keys = keys
        assert self._instance is not None
        self._instance.segment.words[InstanceWord.KEYS_GENERATION] = keys.generation
        self._fleet.broadcast(keys)

    def _on_recent_rows(self, message: RecentRows) -> None:
        """Pass rows on to control, or drop them while it does not take what it was sent."""
        control = self._fleet.control.current
        if control is not None and not control.channel.wants_write:
            self._fleet.send(control, message)

    def _on_refused(self, child: Child, message: Refused) -> None:
        reasons = [f"{path}: {reason}" for path, reason in message.problems]
        if not self._served:
            self._fail("it cannot start\n" + "\n".join(f"  {line}" for line in reasons))
        elif self._reload is not None:
            self._reload.refused(child, message)
        else:
            self._log.error("a process refused", child=child.name, problems=reasons)
            if child.is_worker:
                # What is in force with the others must be in force everywhere.
                self._replace(child)

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
        if not child.is_worker and self._figures is not None:
            self._figures.control_ended(reason)
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

    def _on_child_signal(self) -> None:
        self._fleet.reap()
        if self._upgrade is not None:
            self._upgrade.reap()

    def _on_terminate(self) -> None:
        if not self._served:
            self._log.info("stopped before it was ready")
            self._loop.stop()
        elif self._shutdown is None:
            self._notifier.stopping()
            self._shutdown = Shutdown(
                self._loop, self._fleet, self._log, self._plan, self._close_listener
            )
        else:
            self._shutdown.hurry()

    def _close_listener(self) -> None:
        if self._instance is not None:
            self._instance.close_listeners()

    def _on_upgrade(self) -> None:
        """SIGUSR2: become the version that is installed now, if it can take over."""
        busy = self._reload or self._rollover or self._upgrade or self._shutdown
        if not self._served or busy or self._instance is None:
            self._log.warning("no upgrade now: a start, reload, upgrade or drain is under way")
            return
        self._upgrade = Upgrade(
            self._loop,
            self._fleet,
            self._log,
            self._overrides,
            self._instance.segment.fd,
            describe=self._describe,
            failed=self._upgrade_failed,
        )

    def _describe(self) -> Handover:
        assert self._instance is not None
        self._notifier.reloading()
        return describe(
            self._instance,
            self._fleet,
            self._plan,
            started_s=self._started_s,
            generation=self._generation,
        )

    def _upgrade_failed(self) -> None:
        self._upgrade = None
        self._notifier.ready("serving")
        self._reload_if_asked()

    def _rolled_over(self) -> None:
        self._rollover = None
        self._log.info("upgrade complete", version=__version__)
        self._notifier.ready("serving")

    def _on_hangup(self) -> None:
        if not self._served or self._shutdown is not None:
            return
        if self._reload is not None or self._upgrade is not None:
            self._reload_again = True
            return
        self._notifier.reloading()
        try:
            plan = load_plan(self._overrides, self._next_generation(), previous=self._plan)
        except ConfigError as error:
            self._reload_ended(None, error.lines())
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
        self._notifier.ready("serving")
        self._reload_if_asked()

    def _reload_if_asked(self) -> None:
        if self._reload_again:
            self._reload_again = False
            self._on_hangup()


def main(overrides: Overrides, early: EarlyChildren | None) -> int:
    """Run one gateway in this process; return its exit code."""
    os.umask(0o077)
    return Supervisor(overrides, early).run()
