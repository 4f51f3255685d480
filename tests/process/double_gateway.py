"""`python double_gateway.py [NAME=VALUE …]`: a real supervisor and control, double workers."""

from __future__ import annotations

import sys
from pathlib import Path

from tidegate.workers.spawn import start_early

if __name__ == "__main__":
    early = start_early(worker_module="double_worker")
    from tidegate.workers.plan import Overrides
    from tidegate.workers.supervisor import Supervisor

    settings: dict[str, object] = {}
    file: Path | None = None
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name == "config":
            file = Path(value)
        else:
            settings[name] = int(value) if value.isdecimal() else value
    overrides = Overrides(file, settings)
    sys.exit(Supervisor(overrides, early, worker_module="double_worker").run())
