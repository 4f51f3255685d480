"""The generated files and where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from scripts.dashboards.limits import limits
from scripts.dashboards.overview import overview
from scripts.dashboards.providers import providers
from scripts.dashboards.runtime import runtime

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
RULES = DEPLOY / "prometheus" / "rules"
MIXIN_FILES = DEPLOY / "mixin" / "files.libsonnet"
MIXIN_RULES = DEPLOY / "mixin" / "rules.json"


def rendered() -> dict[Path, str]:
    """Return the text of each file that is generated."""
    boards = {
        f"{board['uid']}.json": board for board in (overview(), providers(), limits(), runtime())
    }
    files = {
        DASHBOARDS / name: json.dumps(board, indent=2, ensure_ascii=False) + "\n"
        for name, board in boards.items()
    }
    files[MIXIN_FILES] = _mixin_files(sorted(boards))
    files[MIXIN_RULES] = _mixin_rules()
    return files


def rule_files() -> list[Path]:
    """Return the shipped files of recording and alerting rules."""
    return sorted(RULES.glob("*.yml"))


def _mixin_files(boards: list[str]) -> str:
    lines = ["// Written by `python -m scripts.dashboards`: jsonnet cannot list a folder.", "{"]
    lines += ["  dashboards: {"]
    lines += [f"    '{name}': import '../grafana/dashboards/{name}'," for name in boards]
    return "\n".join([*lines, "  },", "  groups: (import 'rules.json').groups,", "}", ""])


def _mixin_rules() -> str:
    """Return all rules as JSON: jsonnet 0.18 misreads folded scalars of YAML."""
    groups = [
        group for path in rule_files() for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return json.dumps({"groups": groups}, indent=2, ensure_ascii=False) + "\n"
