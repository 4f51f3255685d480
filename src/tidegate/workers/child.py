"""One child process as the supervisor knows it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Literal

from tidegate.control.channel import Channel
from tidegate.control.messages import Attach
from tidegate.memory import CONTROL_SLOT, Segment, SlotState, SlotWord
from tidegate.workers.backoff import Backoff

Role = Literal["worker", "control"]
DeathReason = Literal["exit", "signal", "hang", "start", "replaced"]
"""The label values of `tidegate_worker_restarts_total`, and `replaced`, which was asked for."""


class Seat:
    """A place that is always to be filled: one for each worker, one for control.

    Attributes:
        role: Which program sits here.
        number: Counts workers from 1; 0 for control.
        current: Who serves (or is about to); None while nobody does.
        successor: Who will take over once ready; the current one drains then.
        backoff: Remembers the quick deaths of this seat.
        last_slot: Preferred for the next one, so that a slot's series go on.
    """

    __slots__ = ("backoff", "current", "last_slot", "number", "role", "successor")

    def __init__(self, role: Role, number: int) -> None:
        self.role: Role = role
        self.number = number
        self.current: Child | None = None
        self.successor: Child | None = None
        self.backoff = Backoff()
        self.last_slot = CONTROL_SLOT if role == "control" else 0


class Child:
    """A process between its start and its reaping.

    Attributes:
        slot: Its column in the shared memory; -1 before `attach`.
        ready_since_s: Monotonic time of its first `Ready`; None before.
        leaving: It was asked to drain or stop: its end is no accident.
        condemned: Killed by us for the reason that stands here.
        deaf: Its channel has ended; it says and hears nothing more.
        generation: Newest configuration generation that it has confirmed.
        stale_s: For how long its heartbeat has not moved, in time that the supervisor saw pass.
    """

    __slots__ = (
        "channel",
        "condemned",
        "deaf",
        "generation",
        "heartbeat_ns",
        "incarnation",
        "leaving",
        "pid",
        "ready_since_s",
        "seat",
        "slot",
        "stale_s",
    )

    def __init__(self, seat: Seat, pid: int, channel: Channel) -> None:
        self.seat = seat
        self.pid = pid
        self.channel = channel
        self.slot = -1
        self.incarnation = 0
        self.ready_since_s: float | None = None
        self.leaving = False
        self.condemned: DeathReason | None = None
        self.deaf = False
        self.generation = 0
        self.heartbeat_ns = 0
        self.stale_s = 0.0

    @property
    def name(self) -> str:
        """`worker-2` (by slot) or `control`."""
        return "control" if self.seat.role == "control" else f"worker-{self.slot}"

    @property
    def is_worker(self) -> bool:
        """Whether it serves clients."""
        return self.seat.role == "worker"

    @property
    def served_s(self) -> float:
        """Seconds since it became ready; 0 when it never did."""
        return 0.0 if self.ready_since_s is None else time.monotonic() - self.ready_since_s

    def attach(self, segment: Segment, slot: int, descriptors: Sequence[int]) -> None:
        """Give the child its slot and descriptors. Raises `OSError` when it is already gone."""
        self.slot = slot
        self.seat.last_slot = slot
        self.incarnation = segment.claim(slot)
        segment.set(slot, SlotWord.PID, self.pid)
        self.channel.send_attach(Attach(slot, self.incarnation), descriptors)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; our unreaped child's pid cannot belong to anybody else."""
        os.kill(self.pid, number)

    def death_reason(self, status: int) -> DeathReason:
        """Classify its end by its wait *status* and what is known of it."""
        if self.condemned is not None:
            return self.condemned
        if self.leaving:
            return "replaced"
        if self.ready_since_s is None:
            return "start"
        return "signal" if os.WIFSIGNALED(status) else "exit"


def describe_status(status: int) -> str:
    """Return how a process ended, for people: `SIGKILL` or `exit code 3`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit code {os.WEXITSTATUS(status)}"


def pick_slot(segment: Segment, seat: Seat) -> int | None:
    """Return a slot for the next process of *seat*: its last one if free, else the lowest.

    None when all are taken, which can only be while many workers drain.
    """
    slots = [CONTROL_SLOT] if seat.role == "control" else [seat.last_slot, *segment.worker_slots]
    for slot in slots:
        if slot and segment.get(slot, SlotWord.STATE) == SlotState.FREE:
            return slot
    return None
