"""What the supervisor and its children say to each other.

One socketpair a child (a star); each message is one MessagePack frame, see `channel`.
Large payloads (the snapshot, the key table) travel packed, so that the supervisor
relays them to any number of workers without unpacking.
"""

from __future__ import annotations

from typing import Final

import msgspec

from tidegate.config.snapshot import DatabaseSnapshot, KeySnapshot

PROTOCOL: Final = 1
"""Raised when a message changes its meaning; an upgrade in place refuses another one."""


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """First message to a child; the frame carries its descriptors: the memory, and for workers
    the listeners, of the data port and then, if it has one of its own, of the metrics page.

    `slot` is its column of cells, `incarnation` counts the slot's processes.
    """

    slot: int
    incarnation: int


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """A whole configuration: build it beside the one in force, then swap.

    Args:
        generation: Grows with each configuration that the supervisor compiled.
        snapshot: `config.snapshot.encode_snapshot` of it.
        config_keys: Packed `tuple[KeySnapshot, ...]` of the keys that the file names; only
            control gets it (workers get whole tables by `Keys`).
        no_key: What to refuse with when there is no usable key at all (a public address);
            empty when that is no fault.
        first_start: The instance starts: control may create the first key.
        database: The server of keys and ledger, if they are on one; only control gets it.
        url: Where clients reach the gateway; only control gets it.
    """

    generation: int
    snapshot: bytes
    config_keys: bytes = b""
    no_key: tuple[tuple[str, str], ...] = ()
    first_start: bool = False
    database: DatabaseSnapshot | None = None
    url: str = ""

    def once_served(self) -> Configure:
        """Return it for a control that is started again: there are keys by now."""
        return msgspec.structs.replace(self, no_key=(), first_start=False)


class Keys(msgspec.Struct, frozen=True, tag="keys"):
    """The whole table of keys, packed by `encode_keys`. `generation` grows with each change."""

    generation: int
    table: bytes


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Say not ready, accept for `accept_s` more seconds, then finish what runs within `drain_s`.

    `last` is true when the whole instance ends: nobody else will take the connections that
    wait in the listener's queue.
    """

    accept_s: float
    drain_s: float
    last: bool


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Finish now: running streams end in an error event."""


class WorkerDied(msgspec.Struct, frozen=True, tag="worker_died"):
    """A worker's process is gone and was reaped; nothing of it can write any more."""

    slot: int
    incarnation: int
    pid: int
    reason: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A worker serves (configuration and keys in force); control has its database open."""


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """The configuration of `generation` is in force."""

    generation: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The configuration of `generation` cannot be used; the one before stays in force.

    `problems` are `(path, reason)` pairs without any secret.
    """

    generation: int
    problems: tuple[tuple[str, str], ...]


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """A worker was asked by a signal to leave: start another, then drain this one."""


class Drained(msgspec.Struct, frozen=True, tag="drained"):
    """Nothing is left; the process exits next. `cut` counts connections closed unfinished."""

    cut: int


class FirstKey(msgspec.Struct, frozen=True, tag="first_key"):
    """Control created the first key; its secret is printed once by the supervisor.

    Never put this message into a log.
    """

    name: str
    secret: str


class FirstToken(msgspec.Struct, frozen=True, tag="first_token"):
    """Control made the first admin token; it is printed once by the supervisor.

    Never put this message into a log. `url` is where it is wanted.
    """

    token: str
    url: str


class RecentRows(msgspec.Struct, frozen=True, tag="recent_rows"):
    """Requests that a worker has settled while somebody looks, packed; control keeps them."""

    rows: bytes


Message = (
    Attach
    | Configure
    | Keys
    | Drain
    | Stop
    | WorkerDied
    | Ready
    | Applied
    | Refused
    | Leaving
    | Drained
    | FirstKey
    | FirstToken
    | RecentRows
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_keys_decoder = msgspec.msgpack.Decoder(tuple[KeySnapshot, ...])


def encode_message(message: Message) -> bytes:
    """Pack one message (without its frame)."""
    return _encoder.encode(message)


def decode_message(data: bytes) -> Message:
    """Unpack one message; raises `msgspec.ValidationError` when it is none of them."""
    return _decoder.decode(data)


def encode_keys(keys: tuple[KeySnapshot, ...]) -> bytes:
    """Pack a key table (about 90 bytes a key)."""
    return _encoder.encode(keys)


def decode_keys(table: bytes) -> tuple[KeySnapshot, ...]:
    """Unpack a key table; `b""` is the empty one."""
    return _keys_decoder.decode(table) if table else ()
