"""Real processes: no secret is in any argument, environment or log."""

from __future__ import annotations

from pathlib import Path

import pytest
from double_run import children_of, running

pytestmark = pytest.mark.process

PROVIDER_SECRET = "sk-provider-0123456789abcdef"
KEY_SECRET = "tg-client-0123456789abcdef"


def test_no_secret_is_in_argv_or_in_a_childs_environment(tmp_path: Path) -> None:
    """Configuration reaches children by a socket only."""
    config = (
        "providers:\n"
        "  acme: {kind: openai-compatible, base_url: http://127.0.0.1:9/v1, api_key: env:ACME}\n"
        "keys: {ci: {secret: env:CI_KEY}}\n"
    )
    environment = {"ACME": PROVIDER_SECRET, "CI_KEY": KEY_SECRET, "OTHER_TOKEN": "tok-7654321"}
    with running(tmp_path, workers=2, config=config, environment=environment) as run:
        children = children_of(run.process.pid)
        assert len(children) == 3
        for pid in [run.process.pid, *children]:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert PROVIDER_SECRET.encode() not in argv
            assert KEY_SECRET.encode() not in argv
        for pid in children:
            names = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert not [name for name in names if name.startswith((b"ACME", b"CI_", b"OTHER"))]
        assert PROVIDER_SECRET not in run.log() + "\n".join(run.output)
        assert KEY_SECRET not in run.log() + "\n".join(run.output)
        modes = [(path.name, path.stat().st_mode & 0o077) for path in run.data_dir.iterdir()]
        assert [name for name, mode in modes if mode] == []
        assert run.data_dir.stat().st_mode & 0o077 == 0


def test_children_have_no_descriptor_that_they_were_not_given(tmp_path: Path) -> None:
    """Neither the lock of the data directory nor another child's channel leaks into them."""
    with running(tmp_path, workers=2) as run:
        for pid in children_of(run.process.pid):
            links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
            assert not [link for link in links if link.endswith("tidegate.lock")]
            descriptors = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
            sockets = [link for link in links if link.startswith("socket:")]
            assert 3 in descriptors
            # The channel; a worker's listener; the two ends by which a loop wakes itself.
            assert len(sockets) <= 6
