"""From a supervisor to the newer program in the same process: everything that must live on.

An upgrade in place is an `execve`: the pid stays (for systemd, and for the children, whose
parent it is), and so do the descriptors, which keep the port open, the memory mapped by
name of nobody, and the channels connected. What stands in variables goes through a `memfd`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Final

import msgspec

from tidegate.control.channel import Channel
from tidegate.control.messages import Keys
from tidegate.memory import Segment
from tidegate.workers.child import Child, Role, Seat
from tidegate.workers.fleet import Fleet
from tidegate.workers.instance import Instance
from tidegate.workers.instance_lock import InstanceLock
from tidegate.workers.plan import Plan
from tidegate.workers.spawn import HANDOVER_VARIABLE

HANDOVER_VERSION: Final = 2
"""Raised with each change of these records that an older or newer program cannot read."""

HELD_SIGNALS: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2}
)
"""Blocked from before the `execve` until the new program hears them: none is lost or deadly."""


class HandedChild(msgspec.Struct, frozen=True):
    """A child process and how far the talk with it has got."""

    pid: int
    role: Role
    seat: int
    slot: int
    incarnation: int
    generation: int
    channel_fd: int
    unread: bytes
    unsent: bytes
    ready_since_s: float | None
    leaving: bool
    is_current: bool


class Handover(msgspec.Struct, frozen=True):
    """A supervisor in data."""

    lock_fd: int
    listener_fd: int
    segment_fd: int
    url: str
    started_s: float
    generation: int
    plan: Plan
    keys_generation: int
    keys: bytes
    children: tuple[HandedChild, ...]
    page_listener_fd: int = -1
    page_url: str = ""


def describe(
    instance: Instance, fleet: Fleet, plan: Plan, *, started_s: float, generation: int
) -> Handover:
    """Return the supervisor of *fleet* in data."""
    assert fleet.keys is not None
    return Handover(
        lock_fd=instance.lock.fd,
        listener_fd=instance.listener.fileno(),
        segment_fd=instance.segment.fd,
        url=instance.url,
        started_s=started_s,
        generation=generation,
        plan=plan,
        keys_generation=fleet.keys.generation,
        keys=fleet.keys.table,
        children=tuple(_describe_child(child) for child in fleet.children.values()),
        page_listener_fd=-1 if instance.page_listener is None else instance.page_listener.fileno(),
        page_url=instance.page_url,
    )


def _describe_child(child: Child) -> HandedChild:
    return HandedChild(
        pid=child.pid,
        role=child.seat.role,
        seat=child.seat.number,
        slot=child.slot,
        incarnation=child.incarnation,
        generation=child.generation,
        channel_fd=-1 if child.deaf else child.channel.sock.fileno(),
        unread=child.channel.unread,
        unsent=child.channel.unsent,
        ready_since_s=child.ready_since_s,
        leaving=child.leaving,
        is_current=child.seat.current is child,
    )


def give(handover: Handover) -> None:
    """Become the program that is installed now. Returns only by `OSError`; all is as before then.

    The command line is the one that this process was started with.
    """
    descriptors = [handover.lock_fd, handover.listener_fd, handover.segment_fd]
    if handover.page_listener_fd >= 0:
        descriptors.append(handover.page_listener_fd)
    descriptors += [child.channel_fd for child in handover.children if child.channel_fd >= 0]
    state_fd = os.memfd_create("tidegate-handover")
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        with open(state_fd, "wb", closefd=False) as file:
            file.write(msgspec.msgpack.encode(handover))
        for descriptor in (state_fd, *descriptors):
            os.set_inheritable(descriptor, True)
        environment = dict(os.environ, **{HANDOVER_VARIABLE: str(state_fd)})
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 (no shell is meant)
    finally:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        os.close(state_fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)


def take() -> Handover:
    """Read what the supervisor before us left."""
    state_fd = int(os.environ.pop(HANDOVER_VARIABLE))
    with open(state_fd, "rb") as file:
        file.seek(0)
        return msgspec.msgpack.decode(file.read(), type=Handover)


def resume_instance(handover: Handover) -> Instance:
    """Hold again what *handover* names; nothing of it is inherited by accident any more."""
    for descriptor in (handover.lock_fd, handover.listener_fd):
        os.set_inheritable(descriptor, False)
    lock = InstanceLock(handover.lock_fd, after_kill=False)
    listener = socket.socket(fileno=handover.listener_fd)
    page_listener = None
    if handover.page_listener_fd >= 0:
        os.set_inheritable(handover.page_listener_fd, False)
        page_listener = socket.socket(fileno=handover.page_listener_fd)
    return Instance(
        lock,
        listener,
        Segment.attach(handover.segment_fd),
        handover.url,
        page_listener=page_listener,
        page_url=handover.page_url,
    )


def resume_fleet(handover: Handover, fleet: Fleet) -> None:
    """Seat and hear the children of *handover* again."""
    seats = {0: fleet.control}
    for number in range(1, handover.plan.workers + 1):
        seats[number] = Seat("worker", number)
        fleet.seats.append(seats[number])
    for handed in handover.children:
        seat = seats[handed.seat]
        if handed.channel_fd >= 0:
            os.set_inheritable(handed.channel_fd, False)
            sock = socket.socket(fileno=handed.channel_fd)
        else:
            # It had closed its end: a socket that is at its end as well.
            sock, other = socket.socketpair()
            other.close()
        child = Child(seat, handed.pid, Channel(sock, unread=handed.unread, unsent=handed.unsent))
        child.slot = handed.slot
        child.incarnation = handed.incarnation
        child.generation = handed.generation
        child.ready_since_s = handed.ready_since_s
        child.leaving = handed.leaving
        seat.last_slot = handed.slot
        if handed.is_current:
            seat.current = child
        fleet.adopt(child)
    fleet.keys = Keys(handover.keys_generation, handover.keys)
