"""A few allocated megabytes that are given up when the disk is full.

With them the attempts that are under way can still be settled. While the reserve is
missing, the disk counts as full: it comes back only when there is room for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 4 * 1024 * 1024
"""Room for about 30,000 settle records."""

_NAME: Final = "reserve"


def ensure_reserve(directory: Path) -> bool:
    """Allocate the reserve unless it is there; False when there is no room for it.

    Several processes may do so at once: the last one's file stays.
    """
    path = directory / _NAME
    with suppress(OSError):
        if path.stat().st_size == RESERVE_BYTES:
            return True
    building = directory / f".{_NAME}.{os.getpid()}"
    try:
        descriptor = os.open(building, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)
        building.rename(path)
    except OSError:
        with suppress(OSError):
            building.unlink()
        return False
    return True


def release_reserve(directory: Path) -> bool:
    """Give the reserved room to whoever needs it now; False when it had been given already."""
    try:
        (directory / _NAME).unlink()
    except OSError:
        return False
    return True
