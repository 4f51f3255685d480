"""What `tidegate top` refuses before it shows anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ("--token", "tga_0123456789"),
            "--token takes env:NAME or file:PATH, not the token itself",
        ),
        (
            (),
            "environment variable TIDEGATE_ADMIN_TOKEN is not set; put the admin token there, or "
            "name its place with --token",
        ),
        (("--token", "env:NOT_SET"), "environment variable NOT_SET is not set"),
        (("--token", "env:EMPTY"), "env:EMPTY is empty"),
        (("--token", "env:GOOD", "--url", "nowhere"),
         "--url must be a URL such as http://127.0.0.1:8001"),
        (("--token", "env:GOOD"), "this needs a terminal; for programs there is the admin API"),
    ],
)  # fmt: skip
def test_what_it_needs_is_told_on_one_line(
    tidegate: Run, arguments: tuple[str, ...], reason: str
) -> None:
    """On standard error, with exit status 1, and without the token."""
    pytest.importorskip("textual", reason="textual is not installed: the extra `top`")
    done = tidegate("top", *arguments, GOOD="tga_good", EMPTY="")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"tidegate top: {reason}\n")
    assert "tga_" not in done.stderr


def test_without_textual_it_says_how_to_get_it(tmp_path: Path) -> None:
    """The extra is named; nothing else of the command line needs it."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'textual' else find(name, *more)\n"
        "sys.argv[1:] = ['top']\n"
        "from tidegate.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == (
        "tidegate top: this needs one more package: pip install 'tidegate[top]'\n"
    )
