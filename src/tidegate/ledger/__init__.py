"""The ledger: one durable row for each upstream attempt, through any single crash.

`journal` is the writer in each worker, `fold` the reader in control, `records` the format
between them, `store` what a database must do, `verify` the proof that all of them agree.
"""

from typing import Final

JOURNAL_FOLDER: Final = "journal"
"""Folder of the journals inside the data directory."""
