"""Resolve the dependencies of pyproject.toml into lock files, with hashes.

`requirements.lock` holds what the gateway runs with; `requirements-dev.lock` that, what extras add,
and the `dev` group. The frameworks that tests play have a lock file and an environment of their
own, so that they never hold back what the gateway is tested with. Run by `make lock`, on the
oldest supported Python, whose backports others simply do not need.
"""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
import venv
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ROOT / "tests" / "cross" / "frameworks" / "requirements.in"
RESOLVER = "pip-tools>=7.6"
OPTIONS = (
    "--generate-hashes",
    "--upgrade",
    "--strip-extras",
    "--allow-unsafe",
    "--quiet",
    "--no-annotate",
    "--no-header",
    # Where packages are fetched from is the business of each machine.
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-emit-trusted-host",
    "--no-emit-options",
)
HEADER = "# Written by `make lock` from pyproject.toml. Do not edit.\n"


def lock(
    python: Path, requirements: list[str], target: Path, constraints: Path | None = None
) -> None:
    """Resolve requirements into a lock file.

    Args:
        python: Interpreter that has the resolver.
        requirements: As they stand in pyproject.toml.
        target: The lock file, replaced.
        constraints: A lock file whose versions must be kept.
    """
    # Beside the lock file there may be a list of requirements; this one is for the resolver alone.
    source = target.with_suffix(".resolving.in")
    lines = list(requirements)
    if constraints is not None:
        lines.append(f"-c {constraints}")
    source.write_text("\n".join(lines) + "\n")
    try:
        subprocess.run(
            [python, "-m", "piptools", "compile", *OPTIONS, "-o", target, source],
            check=True,
            cwd=ROOT,
        )
    finally:
        source.unlink()
    target.write_text(HEADER + target.read_text())


def main() -> None:
    """Write all lock files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = project["project"]["dependencies"]
    extras = project["project"].get("optional-dependencies", {})
    dev = [*runtime, *chain(*extras.values()), *project["dependency-groups"]["dev"]]
    with tempfile.TemporaryDirectory() as folder:
        # Of its own: the resolver's dependencies are nobody else's business.
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", RESOLVER], check=True)
        lock(python, runtime, ROOT / "requirements.lock")
        lock(python, dev, ROOT / "requirements-dev.lock", constraints=ROOT / "requirements.lock")
        lock(python, FRAMEWORKS.read_text().splitlines(), FRAMEWORKS.with_suffix(".lock"))


if __name__ == "__main__":
    main()
