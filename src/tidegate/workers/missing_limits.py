"""Keys that name a limit which the configuration no longer has: they are refused, and loudly so."""

from __future__ import annotations

from collections import Counter

from tidegate.config.snapshot import decode_snapshot
from tidegate.control.eventlog import EventLog
from tidegate.control.messages import Keys, decode_keys


def count_missing_limits(snapshot: bytes, table: bytes) -> dict[str, int]:
    """Return limit → how many keys name it, for limits that *snapshot* does not have.

    Args:
        snapshot: Packed configuration.
        table: Packed keys, those of the configuration and of the database.
    """
    known = {limit.name for limit in decode_snapshot(snapshot).limits}
    missing = Counter(
        limit for key in decode_keys(table) for limit in set(key.limits) if limit not in known
    )
    return dict(sorted(missing.items()))


def warn_of_missing_limits(log: EventLog, snapshot: bytes, keys: Keys | None) -> None:
    """Log each limit that keys in force name and *snapshot* lacks."""
    if keys is None:
        return
    for limit, count in count_missing_limits(snapshot, keys.table).items():
        log.warning(
            "keys name a limit that is not configured: their requests are refused (403)",
            limit=limit,
            keys=count,
        )
