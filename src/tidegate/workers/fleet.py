"""Keeps every seat filled: starts children, hears them, reaps them, replaces them."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from tidegate.control.channel import Channel, ChannelClosed
from tidegate.control.eventlog import EventLog
from tidegate.control.messages import Configure, Drain, Keys, Message, Ready, Stop
from tidegate.memory import Segment
from tidegate.workers.child import Child, DeathReason, Seat, describe_status, pick_slot
from tidegate.workers.loop import Loop, Timer
from tidegate.workers.spawn import CONTROL, WORKER, Spawned, spawn

NO_SLOT_RETRY_S: Final = 0.5
LAST_BREATH_S: Final = 5.0
"""How long a child that has closed its channel may take to exit."""


class FleetOwner(Protocol):
    """What the supervisor does with the news of its children."""

    def child_ready(self, child: Child) -> None:
        """*child* serves."""

    def child_superseded(self, child: Child) -> None:
        """*child*'s successor is ready: let it drain."""

    def successor_died(self, child: Child | None) -> None:
        """The successor of *child* ended before it was ready."""

    def child_said(self, child: Child, message: Message) -> None:
        """*child* sent any message but `Ready`."""

    def child_died(self, child: Child, reason: DeathReason, how: str) -> None:
        """*child* was reaped; its slot is free again."""

    def reaping(self) -> AbstractContextManager[None]:
        """Entered around the reaping of children."""

    def bury(self, child: Child, usage: resource.struct_rusage | None) -> None:
        """Zero the gauges of *child*'s slot, keep its CPU, and free the slot."""


class Fleet:
    """All children of the supervisor.

    Attributes:
        seats: Workers' seats, then nothing else; `control` is apart.
        children: Every process that has not been reaped, by pid.
        stopping: No seat is filled any more.
    """

    def __init__(
        self,
        loop: Loop,
        log: EventLog,
        owner: FleetOwner,
        *,
        worker_module: str = WORKER,
        control_module: str = CONTROL,
    ) -> None:
        self.control = Seat("control", 0)
        self.seats: list[Seat] = []
        self.children: dict[int, Child] = {}
        self.stopping = False
        self.configure: Configure | None = None
        self.control_configure: Configure | None = None
        self.keys: Keys | None = None
        self._loop = loop
        self._log = log
        self._owner = owner
        self._modules: Final = {"worker": worker_module, "control": control_module}
        self._segment: Segment | None = None
        self._listener_fds: tuple[int, ...] = ()
        self._timers: dict[Seat, Timer] = {}

    @property
    def is_settled(self) -> bool:
        """Whether every seat is served and nobody is being replaced."""
        return all(
            seat.current is not None
            and seat.current.ready_since_s is not None
            and seat.successor is None
            for seat in (self.control, *self.seats)
        )

    # Starting

    def take_early(self, seat: Seat, spawned: Spawned) -> None:
        """Seat a child that was started before there was anything to attach it to."""
        seat.current = Child(seat, spawned.pid, Channel(spawned.channel))
        self.adopt(seat.current)

    def open(self, segment: Segment, listener_fds: tuple[int, ...]) -> None:
        """The memory and the listeners exist: attach what was started early."""
        self._segment = segment
        self._listener_fds = listener_fds
        for child in list(self.children.values()):
            if child.slot < 0:
                self._attach(child)

    def fill(self, seat: Seat) -> None:
        """Start a process for an empty *seat* now."""
        self._timers.pop(seat, None)
        if self.stopping or seat.current is not None:
            return
        child = self._start(seat)
        if child is None:
            self._fill_later(seat, NO_SLOT_RETRY_S)
        else:
            seat.current = child

    def replace(self, child: Child) -> bool:
        """Start a successor of *child*, which drains once that is ready.

        Returns whether there is one now; not while all slots are taken.
        """
        seat = child.seat
        if self.stopping or seat.current is not child:
            return False
        if seat.successor is None:
            seat.successor = self._start(seat)
        return seat.successor is not None

    def _start(self, seat: Seat) -> Child | None:
        """Spawn and attach; None when there is no slot or the system has no process for us."""
        assert self._segment is not None
        if pick_slot(self._segment, seat) is None:
            return None
        try:
            child = self._spawn(seat)
        except OSError as error:
            self._log.error("cannot start a process", role=seat.role, reason=str(error))
            return None
        self._attach(child)
        return child

    def _spawn(self, seat: Seat) -> Child:
        label = "control" if seat.role == "control" else f"worker-seat-{seat.number}"
        spawned = spawn(self._modules[seat.role], label)
        child = Child(seat, spawned.pid, Channel(spawned.channel))
        self.adopt(child)
        return child

    def adopt(self, child: Child) -> None:
        """Hear *child* and answer for it from now on."""
        self.children[child.pid] = child
        self._loop.watch(
            child.channel.sock, lambda: self._on_readable(child), lambda: self._on_writable(child)
        )

    def _attach(self, child: Child) -> None:
        assert self._segment is not None
        slot = pick_slot(self._segment, child.seat)
        assert slot is not None
        descriptors = [self._segment.fd]
        if child.is_worker:
            descriptors += self._listener_fds
        try:
            child.attach(self._segment, slot, descriptors)
        except OSError:
            return  # already dead: the reaper comes next
        configure = self.configure if child.is_worker else self.control_configure
        if configure is not None:
            self.send(child, configure)
        if self.keys is not None and child.is_worker:
            self.send(child, self.keys)

    # Talking

    def send(self, child: Child, message: Message) -> None:
        """Queue *message* for *child*."""
        child.channel.send(message)
        self._want_write(child)

    def broadcast(self, message: Message) -> None:
        """Queue *message* for every worker."""
        for child in self.workers():
            self.send(child, message)

    def workers(self) -> list[Child]:
        """Return all worker processes that were attached, the draining ones included."""
        return [child for child in self.children.values() if child.is_worker and child.slot >= 0]

    def drain(self, child: Child, message: Drain) -> None:
        """Ask *child* to leave."""
        child.leaving = True
        self.send(child, message)

    def stop(self, child: Child) -> None:
        """Ask *child* to end at once."""
        child.leaving = True
        self.send(child, Stop())

    def _want_write(self, child: Child) -> None:
        if not child.deaf:
            self._loop.want_write(child.channel.sock, child.channel.wants_write)

    def _on_writable(self, child: Child) -> None:
        child.channel.flush()
        self._want_write(child)

    def _on_readable(self, child: Child) -> None:
        try:
            messages = child.channel.receive()
        except ChannelClosed:
            # It is ending. The reaper does the rest, unless it hangs in its last breath.
            self._unwatch(child)
            self._loop.call_later(LAST_BREATH_S, lambda: self.kill(child, None))
            return
        except msgspec.DecodeError as error:
            self._log.error("a child sent what is no message", child=child.name, reason=str(error))
            self.kill(child, "exit")
            return
        for message in messages:
            if isinstance(message, Ready):
                self._on_ready(child)
            else:
                self._owner.child_said(child, message)

    def _on_ready(self, child: Child) -> None:
        child.ready_since_s = time.monotonic()
        seat = child.seat
        if seat.successor is child:
            before, seat.current, seat.successor = seat.current, child, None
            if before is not None:
                self._owner.child_superseded(before)
        self._owner.child_ready(child)

    # Ending

    def kill(self, child: Child, reason: DeathReason | None) -> None:
        """SIGKILL, if *child* still lives; *reason* is what it is counted as."""
        if child.pid in self.children:
            if reason is not None:
                child.condemned = reason
            child.signal(signal.SIGKILL)

    def reap(self) -> None:
        """Take note of every child that has ended."""
        buried: list[tuple[Child, DeathReason, str, float]] = []
        with self._owner.reaping():
            for child in list(self.children.values()):
                try:
                    pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                except ChildProcessError:
                    # Nobody else waits for our children; but never leave a seat empty.
                    pid, status, usage = child.pid, 0, None
                if pid:
                    buried.append(self._bury(child, status, usage))
        for child, reason, how, served_s in buried:
            self._owner.child_died(child, reason, how)
            if child.seat.current is None and not self.stopping:
                self._fill_after(child, reason, served_s)

    def _bury(
        self, child: Child, status: int, usage: resource.struct_rusage | None
    ) -> tuple[Child, DeathReason, str, float]:
        del self.children[child.pid]
        served_s = child.served_s
        for _ in ("its last words", "the end after them"):
            if not child.deaf:
                self._on_readable(child)
        self._unwatch(child)
        child.channel.close()
        self._owner.bury(child, usage)
        seat = child.seat
        if seat.successor is child:
            seat.successor = None
            self._owner.successor_died(seat.current)
        if seat.current is child:
            seat.current, seat.successor = seat.successor, None
        return child, child.death_reason(status), describe_status(status), served_s

    def _fill_after(self, child: Child, reason: DeathReason, served_s: float) -> None:
        """Start the next process of a dead child's seat, after a pause if it dies often."""
        delay_s = 0.0 if reason == "replaced" else child.seat.backoff.delay_s(served_s)
        if delay_s:
            self._log.warning("pausing before the next start", child=child.name, pause_s=delay_s)
            self._fill_later(child.seat, delay_s)
        else:
            self.fill(child.seat)

    def _fill_later(self, seat: Seat, delay_s: float) -> None:
        self._timers[seat] = self._loop.call_later(delay_s, lambda: self.fill(seat))

    def _unwatch(self, child: Child) -> None:
        if not child.deaf:
            child.deaf = True
            self._loop.unwatch(child.channel.sock)
