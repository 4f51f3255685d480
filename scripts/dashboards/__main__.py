"""Write the generated files of deploy/, and say what is wrong with the dashboards."""

from __future__ import annotations

import json
import sys

from scripts.dashboards.files import DASHBOARDS, rendered
from scripts.dashboards.lint import problems_of_all


def main() -> int:
    """Return 0, or 1 if a dashboard breaks a rule; it is written even so, to be looked at."""
    files = rendered()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    boards = [json.loads(text) for path, text in files.items() if path.parent == DASHBOARDS]
    problems = problems_of_all(boards)
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
