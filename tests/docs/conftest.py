"""One gateway for all blocks of the documentation, as a reader has it after `make run`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.running import RunningGateway

ROOT = Path(__file__).parents[2]
_BLOCK_DEADLINE_S = 30
_DOCUMENTED_ADDRESS = "http://127.0.0.1:8000"

Run = Callable[[str, str], str]
"""Takes a block's language and text, returns what it prints; fails if the block fails."""


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a block in the gateway's folder, with `tidegate` on the path and the key at hand."""
    folder = tmp_path_factory.mktemp("reader")
    programs = folder / "bin"
    programs.mkdir()
    command = programs / "tidegate"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tidegate "$@"\n')
    command.chmod(0o755)
    with RunningGateway(folder) as gateway:
        secret = re.search(r"\btg-\w+", "\n".join(gateway.output))
        assert secret is not None, gateway.output
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT / "src"),
            "TIDEGATE_KEY": secret[0],
            "TIDEGATE_URL": gateway.url,
        }

        def run(language: str, block: str) -> str:
            block = block.replace(_DOCUMENTED_ADDRESS, gateway.url)
            if language == "sh":
                if "curl " in block and not shutil.which("curl"):
                    pytest.skip("curl is not installed")
                arguments = ["sh", "-euc", block]
            else:
                arguments = [sys.executable, "-c", block]
            done = subprocess.run(
                arguments,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_BLOCK_DEADLINE_S,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        yield run
