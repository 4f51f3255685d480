"""`python double_gateway.py [NAME=VALUE …]`: a real supervisor and control, double workers."""

from __future__ import annotations

import sys
from pathlib import Path

from tidegate.workers.plan import Overrides
from tidegate.workers.supervisor import Supervisor


class DoubleSupervisor(Supervisor):
    """Starts `double_worker` as its worker."""

    worker_module = "double_worker"


if __name__ == "__main__":
    settings: dict[str, object] = {}
    file: Path | None = None
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name == "config":
            file = Path(value)
        else:
            settings[name] = int(value) if value.isdecimal() else value
    sys.exit(DoubleSupervisor(Overrides(file, settings)).run())
