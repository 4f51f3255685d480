"""The committed pages are what their sources build to, and ask nothing of other hosts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src/tidegate/control/ui"
_MAX_SCRIPT_BYTES = 120 * 1024
_ABSENT_NETWORK = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _node_version() -> tuple[int, ...]:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return tuple(int(part) for part in done.stdout.strip().lstrip("v").split("."))


@pytest.mark.external
@pytest.mark.timeout(180)
def test_the_committed_pages_are_what_their_sources_build_to(tmp_path: Path) -> None:
    """Types hold, the unit tests pass, and a build elsewhere gives the same bytes."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not installed: the pages are not rebuilt")
    if _node_version() < (20, 19):
        pytest.skip("Node is older than 20.19: the pages are not rebuilt")
    sources, output = tmp_path / "ui", tmp_path / "built"
    shutil.copytree(ROOT / "ui", sources, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["sh", str(ROOT / "scripts/build_ui.sh"), str(sources), str(output)],
        capture_output=True,
        text=True,
        timeout=170,
    )
    if done.returncode != 0 and _ABSENT_NETWORK.search(done.stderr):
        pytest.skip("the npm registry cannot be reached: the pages are not rebuilt")
    assert done.returncode == 0, done.stdout + done.stderr
    built, committed = _files(output), _files(BUILT)
    assert built.keys() == committed.keys()
    changed = [name for name in built if built[name] != committed[name]]
    assert not changed, f"run `make ui` and commit what changes: {changed}"


def test_the_pages_need_no_other_host_and_no_inline_code() -> None:
    """What the browser loads is in the package, in files: a policy of 'self' is enough."""
    page = (BUILT / "index.html").read_text()
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    assert all((BUILT / name).is_file() for name in loaded)
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)
    for name, content in _files(BUILT).items():
        if name.endswith(".css"):
            assert not re.search(rb"@import|url\(|https?:", content), name


def test_the_script_stays_small() -> None:
    """A page that is opened over a slow line in an emergency must not weigh more than 120 KiB."""
    sizes = {path.name: path.stat().st_size for path in BUILT.rglob("*.js")}
    assert sum(sizes.values()) <= _MAX_SCRIPT_BYTES, sizes


def test_licences_of_bundled_packages_travel_along() -> None:
    """Preact and uPlot are inside the script; their licences ask for their notice."""
    (notice,) = (BUILT / "assets").glob("licences-*.txt")
    text = notice.read_text()
    bundled = re.findall(r"^(\w+)\n=+$", text, re.M)
    assert bundled == sorted(json.loads((ROOT / "ui/package.json").read_text())["dependencies"])
    assert text.count("Permission is hereby granted") == len(bundled)
