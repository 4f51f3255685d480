"""A worker's journal in a process of its own, writing without a pause until it is killed.

    python -m tests.ledger.ledger_writer_process DIRECTORY SLOT INCARNATION ACKS

Each call that returned is acknowledged by one byte and the attempt's number, appended to ACKS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.ledger.ledger_scene import open_attempt, settle_attempt

from tidegate.ledger.journal import Journal


def main() -> None:
    """Open attempts, settle each three later, acknowledge both; never end."""
    directory, slot, incarnation, acks = sys.argv[1:]
    descriptor = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    journal = Journal(Path(directory), int(slot), int(incarnation), max_file_bytes=60_000)
    for number in range(1_000_000):
        open_attempt(journal, f"req_{slot}_{incarnation}_{number:06d}:1")
        os.write(descriptor, b"o%07d" % number)
        if number >= 3:
            settle_attempt(journal, f"req_{slot}_{incarnation}_{number - 3:06d}:1")
            os.write(descriptor, b"s%07d" % (number - 3))


if __name__ == "__main__":
    main()
