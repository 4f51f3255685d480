"""The fold in a process of its own, ticking without a pause until it is killed.

python -m tests.ledger.ledger_fold_process DATA_DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from tidegate.ledger.fold import Folder
from tidegate.stores.ledger import SqliteLedger


def main() -> None:
    """Fold for ever."""
    data_dir = Path(sys.argv[1])
    folder = Folder(data_dir / "journal", SqliteLedger(data_dir), batch_records=200)
    while True:
        folder.tick()


if __name__ == "__main__":
    main()
