"""Real processes, killed at full speed: what was acknowledged is in the rows, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.ledger.ledger_scene import Scene

_RUN_S = 5.0
_RECORD_BYTES = 8


def start(module: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Start one of the process modules beside this file."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.ledger.{module}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
        cwd=Path(__file__).parents[2],
    )


def acknowledged(path: Path) -> dict[str, str]:
    """Return attempt id → the last thing that was acknowledged of it, `o` or `s`."""
    found: dict[str, str] = {}
    if path.exists():
        slot, incarnation = path.name.split(".")[:2]
        data = path.read_bytes()
        for at in range(0, len(data) - _RECORD_BYTES + 1, _RECORD_BYTES):
            number = int(data[at + 1 : at + _RECORD_BYTES])
            found[f"req_{slot}_{incarnation}_{number:06d}:1"] = chr(data[at])
    return found


def test_kill_9_of_writers_and_of_the_fold_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Two writers and the fold, each killed again and again at random times."""
    chance = random.Random(11)
    scene = Scene(tmp_path)
    acks: list[Path] = []
    writers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    fold, fold_until = start("ledger_fold_process", tmp_path), time.monotonic() + 1.0
    incarnation = kills = 0
    end_s = time.monotonic() + _RUN_S
    try:
        while time.monotonic() < end_s:
            for slot in (2, 3):
                if slot in writers and time.monotonic() < writers[slot][1]:
                    continue
                if slot in writers:
                    process = writers.pop(slot)[0]
                    process.kill()
                    process.wait()
                    kills += 1
                incarnation += 1
                ack = tmp_path / f"{slot}.{incarnation}.acks"
                acks.append(ack)
                writer = start("ledger_writer_process", scene.journals, slot, incarnation, ack)
                until_s = time.monotonic() + 5.0
                while not (ack.exists() and ack.stat().st_size) and time.monotonic() < until_s:
                    time.sleep(0.005)
                writers[slot] = (writer, time.monotonic() + chance.uniform(0.0, 0.15))
            if time.monotonic() >= fold_until:
                fold.kill()
                fold.wait()
                kills += 1
                fold = start("ledger_fold_process", tmp_path)
                fold_until = time.monotonic() + chance.uniform(0.3, 0.9)
            time.sleep(0.002)
    finally:
        for process in (fold, *(writer for writer, _ in writers.values())):
            process.kill()
            process.wait()
    folder = scene.folder()
    until_s = time.monotonic() + 30.0
    while (folder.backlog_bytes or not folder.batches) and time.monotonic() < until_s:
        folder.tick()
    folder.close()

    rows = scene.rows()
    in_doubt = 0
    for ack in acks:
        slot, number = ack.name.split(".")[:2]
        known = acknowledged(ack)
        prefix = f"req_{slot}_{number}_"
        mine = {key: row for key, row in rows.items() if key.startswith(prefix)}
        assert known.keys() <= mine.keys()
        extra = len(mine) - len(known)
        assert extra in (0, 1)  # a record that was written, and killed before it could say so
        in_doubt += extra
        late = [
            key for key, row in mine.items() if row.outcome == "ok" and known.get(key, "o") != "s"
        ]
        assert len(late) + extra <= 1
        for key, last in known.items():
            assert mine[key].outcome == "ok" if last == "s" else mine[key].outcome is not None
    assert len(acks) > 6
    assert kills > 6
    assert len(rows) > 5_000
    assert folder.damaged_files == 0
    assert not list(scene.journals.glob("*.damaged"))
    assert scene.rollups() == scene.sums_of_rows()
    assert scene.query("PRAGMA integrity_check") == [("ok",)]
    scene.store.close()
