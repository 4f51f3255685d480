"""The table of keys as the workers get it: those of the store and those of the file."""

from __future__ import annotations

import time
from collections.abc import Callable

from tidegate.config.snapshot import KeySnapshot
from tidegate.control.keycache import KeyCache
from tidegate.control.messages import encode_keys
from tidegate.stores.keys import KeyStore

POLL_S = 0.2
"""How often the store is asked for changes: with the way to the workers well under 1 s."""
FIRST_KEY_NAME = "default"


class KeyTable:
    """Notices changes of the store and publishes the merged table.

    Not thread-safe: use it on the database thread only. `publish` is called there.

    Args:
        store: The stored keys.
        publish: Takes each new table, packed.
        cache: Keeps the stored keys for a start without the database; None for a database
            that is always there.
    """

    def __init__(
        self,
        store: KeyStore,
        publish: Callable[[bytes], None],
        cache: KeyCache | None = None,
    ) -> None:
        self._store = store
        self._publish = publish
        self._cache = cache
        self._unsaved: tuple[KeySnapshot, ...] | None = None
        self._from_config: tuple[KeySnapshot, ...] = ()
        self._version = -1

    def set_config_keys(self, keys: tuple[KeySnapshot, ...]) -> None:
        """Take the keys that the configuration names; publishes at the next `poll`."""
        self._from_config = keys
        self._version = -1

    def poll(self) -> None:
        """Publish the table if it changed since the last call (0.2 ms when it did not).

        Raises:
            StoreError: The database cannot be used now; the table stays as it is.
            OSError: The table is published, but the disk does not take the cache.
        """
        # Read before the table: a change in between is then seen again, never missed.
        version = self._store.version()
        if version != self._version:
            stored = self._store.all_active(now_ms=_now_ms())
            self._publish(encode_keys(_merge(stored, self._from_config)))
            self._version = version
            self._unsaved = stored
        if self._cache is None:
            return
        if self._unsaved is not None:
            self._cache.save(self._unsaved)
            self._unsaved = None
        else:
            self._cache.confirm()

    def publish_cached(self) -> int | None:
        """Publish what the cache holds; return the number of its keys, None without a cache."""
        stored = None if self._cache is None else self._cache.load()
        if stored is None:
            return None
        self._publish(encode_keys(_merge(stored, self._from_config)))
        return len(stored)

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
