"""Real processes, killed at full speed: what was acknowledged is in the rows, once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.ledger.ledger_scene import Scene, open_attempt, settle_attempt

from tidegate.ledger.fold import Folder
from tidegate.ledger.journal import Journal
from tidegate.stores.ledger import SqliteLedger

_KILLS = 40
_LONGEST_S = 30.0
_RECORD_BYTES = 8


def started(run: Callable[[], None]) -> int:
    """Run *run* in a process of its own, started by a bare fork; return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    return pid


def killed(pid: int) -> None:
    """Kill a process of ours with -9; fails if it had ended by itself."""
    os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def write_for_ever(directory: Path, slot: int, incarnation: int, acks: Path) -> None:
    """Open attempts, settle each three later; append to *acks* what has returned."""
    descriptor = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    journal = Journal(directory, slot, incarnation, max_file_bytes=60_000)
    for number in range(1_000_000):
        open_attempt(journal, f"req_{slot}_{incarnation}_{number:06d}:1")
        os.write(descriptor, b"o%07d" % number)
        if number >= 3:
            settle_attempt(journal, f"req_{slot}_{incarnation}_{number - 3:06d}:1")
            os.write(descriptor, b"s%07d" % (number - 3))


def fold_for_ever(data_dir: Path) -> None:
    """Fold without a pause."""
    folder = Folder(data_dir / "journal", SqliteLedger(data_dir), batch_records=200)
    while True:
        folder.tick()


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
    writers: dict[int, tuple[int, float]] = {}
    fold, fold_until_s = started(lambda: fold_for_ever(tmp_path)), time.monotonic() + 0.1
    kills = fold_kills = 0
    end_s = time.monotonic() + _LONGEST_S
    try:
        while kills < _KILLS and time.monotonic() < end_s:
            for slot in (2, 3):
                if slot in writers and time.monotonic() < writers[slot][1]:
                    continue
                if slot in writers:
                    killed(writers.pop(slot)[0])
                    kills += 1
                number, ack = len(acks), tmp_path / f"{slot}.{len(acks)}.acks"
                acks.append(ack)
                pid = started(
                    lambda slot=slot, number=number, ack=ack: write_for_ever(  # type: ignore[misc]
                        scene.journals, slot, number, ack
                    )
                )
                writers[slot] = (pid, time.monotonic() + chance.uniform(0.01, 0.08))
            if time.monotonic() >= fold_until_s:
                killed(fold)
                fold_kills += 1
                fold = started(lambda: fold_for_ever(tmp_path))
                fold_until_s = time.monotonic() + chance.uniform(0.05, 0.3)
            time.sleep(0.001)
    finally:
        for pid in (fold, *(writer for writer, _ in writers.values())):
            killed(pid)
    folder = scene.folder()
    until_s = time.monotonic() + 30.0
    while (folder.backlog_bytes or not folder.batches) and time.monotonic() < until_s:
        folder.tick()
    folder.close()

    rows = scene.rows()
    for ack in acks:
        slot, number = ack.name.split(".")[:2]
        known = acknowledged(ack)
        prefix = f"req_{slot}_{number}_"
        mine = {key: row for key, row in rows.items() if key.startswith(prefix)}
        assert known.keys() <= mine.keys()
        extra = len(mine) - len(known)
        assert extra in (0, 1)  # a record that was written, and killed before it could say so
        late = [
            key for key, row in mine.items() if row.outcome == "ok" and known.get(key, "o") != "s"
        ]
        assert len(late) + extra <= 1
        for key, last in known.items():
            assert mine[key].outcome == "ok" if last == "s" else mine[key].outcome is not None
    assert kills >= _KILLS
    assert fold_kills > 5
    assert len(rows) > 5_000
    assert folder.damaged_files == 0
    assert not list(scene.journals.glob("*.damaged"))
    assert scene.rollups() == scene.sums_of_rows()
    assert scene.query("PRAGMA integrity_check") == [("ok",)]
    scene.store.close()
