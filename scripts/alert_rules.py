"""Write the rules for Prometheus from the declared alerts, with one's own objectives if wanted."""

from __future__ import annotations

import argparse
from pathlib import Path

from tidegate.control.alerts.prometheus import rules_file
from tidegate.control.alerts.rules.objectives import Objectives

RULES = Path(__file__).parent.parent / "deploy" / "prometheus" / "rules" / "tidegate.yml"


def main() -> None:
    """Read the options and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    usual = Objectives()
    parser.add_argument(
        "--availability",
        type=float,
        default=usual.availability,
        help=f"share of requests that succeed ({usual.availability:g})",
    )
    parser.add_argument(
        "--first-token-s",
        type=float,
        default=usual.first_token_s,
        help=f"seconds within which a stream should begin ({usual.first_token_s:g})",
    )
    parser.add_argument(
        "--first-token",
        type=float,
        default=usual.first_token,
        help=f"share of streams that begin so soon ({usual.first_token:g})",
    )
    parser.add_argument(
        "--runbook-base",
        default="",
        metavar="URL",
        help="what to put before docs/runbooks/…, with its slash",
    )
    parser.add_argument("--output", type=Path, default=RULES, help="file to write")
    options = parser.parse_args()
    try:
        objectives = Objectives(options.availability, options.first_token_s, options.first_token)
    except ValueError as error:
        parser.error(str(error))
    options.output.write_text(rules_file(objectives, options.runbook_base))


if __name__ == "__main__":
    main()
