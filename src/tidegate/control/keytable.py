"""The table of keys as the workers get it: those of the store and those of the file."""

from __future__ import annotations

import time
from collections.abc import Callable

from tidegate.config.snapshot import KeySnapshot
from tidegate.control.messages import encode_keys
from tidegate.stores.keys import KeyStore

POLL_S = 0.2
"""How often the store is asked for changes: with the way to the workers well under 1 s."""
FIRST_KEY_NAME = "default"


class KeyTable:
    """Notices changes of the store and publishes the merged table.

    Not thread-safe: use it on the database thread only. `publish` is called there.
    """

    def __init__(self, store: KeyStore, publish: Callable[[bytes], None]) -> None:
        self._store = store
        self._publish = publish
        self._from_config: tuple[KeySnapshot, ...] = ()
        self._version = -1

    def set_config_keys(self, keys: tuple[KeySnapshot, ...]) -> None:
        """Take the keys that the configuration names; publishes at the next `poll`."""
        self._from_config = keys
        self._version = -1

    def poll(self) -> None:
        """Publish the table if it changed since the last call (0.2 ms when it did not)."""
        # Read before the table: a change in between is then seen again, never missed.
        version = self._store.version()
        if version != self._version:
            stored = self._store.all_active(now_ms=_now_ms())
            self._publish(encode_keys(_merge(stored, self._from_config)))
            self._version = version

    def is_empty(self) -> bool:
        """Whether there is no usable key at all."""
        return not self._from_config and not self._store.has_active(now_ms=_now_ms())

    def make_first(self) -> str | None:
        """Make the first key of a store that never had one; return its secret."""
        created = self._store.create_first(FIRST_KEY_NAME, now_ms=_now_ms())
        return None if created is None else created.secret


def _merge(
    stored: tuple[KeySnapshot, ...], from_config: tuple[KeySnapshot, ...]
) -> tuple[KeySnapshot, ...]:
    """Join both; a secret that is in both counts as the file says."""
    named = {key.digest for key in from_config}
    return (*from_config, *(key for key in stored if key.digest not in named))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
