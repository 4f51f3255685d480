"""The secret of digests is made once, is whole, and is for nobody else to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.config.pepper import load_or_create_pepper
from tidegate.errors import ConfigError


def test_it_is_made_once(tmp_path: Path) -> None:
    """Another one would invalidate every stored key."""
    first, warning = load_or_create_pepper(tmp_path / "new" / "data")
    assert (len(first), warning) == (32, None)
    assert load_or_create_pepper(tmp_path / "new" / "data") == (first, None)
    assert os.stat(tmp_path / "new" / "data").st_mode & 0o777 == 0o700
    assert os.stat(tmp_path / "new" / "data" / "secret.key").st_mode & 0o777 == 0o600


def test_a_readable_file_is_narrowed_and_told(tmp_path: Path) -> None:
    """A copied folder often loses its modes."""
    first, _ = load_or_create_pepper(tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    again, warning = load_or_create_pepper(tmp_path)
    assert again == first
    assert warning is not None
    assert os.stat(tmp_path / "secret.key").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_a_damaged_file_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    """Silence here would lock out every client."""
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="damaged"):
        load_or_create_pepper(tmp_path)
    assert path.read_bytes() == content


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody with a foot in the folder chooses which file is the secret."""
    (tmp_path / "other").write_bytes(b"y" * 32)
    (tmp_path / "secret.key").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot use"):
        load_or_create_pepper(tmp_path)


def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    """By its setting and the system's reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"server\.data_dir: cannot make"):
        load_or_create_pepper(tmp_path / "file" / "data")


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Gateway and command on a fresh machine: one secret for both, no draft left behind."""
    code = (
        "import sys, pathlib; from tidegate.config.pepper import load_or_create_pepper as load\n"
        "sys.stdin.read(1)\n"
        "print(load(pathlib.Path(sys.argv[1]))[0].hex())"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    seen = {child.communicate(timeout=30)[0] for child in children}
    assert len(seen) == 1
    assert os.listdir(tmp_path) == ["secret.key"]
