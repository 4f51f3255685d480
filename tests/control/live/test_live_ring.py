"""The ring: what was written reads back, whatever happens to the process or the file."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.control.live import ring as ring_module
from tidegate.control.live.ring import (
    COARSE,
    FINE,
    FIRST_COLUMNS,
    MAX_COLUMNS,
    RESERVED_COLUMNS,
    Ring,
    Tier,
    open_ring,
)

BOUNDS = (0.1, 0.5, 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "live.ring"


def cells_of(ring: Ring, value: float) -> array[float]:
    return array("d", [value + column for column in range(ring.columns)])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "gap", "lap", "series", "boot", "reopen"]),
        st.integers(1, 400),
    ),
    min_size=1,
    max_size=25,
)


@given(steps=STEPS, tier=st.sampled_from([FINE, COARSE]))
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_readings_reads_back(steps: list[tuple[str, int]], tier: Tier) -> None:
    """Gaps, whole laps, new series, restarts of instance and control: a model says the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.ring"
        ring = open_ring(path)
        now_s, boot = 1_800_000_000, 1
        model: dict[int, tuple[int, list[float]]] = {}
        placed = 0
        for action, amount in steps:
            if action == "series":
                for _ in range(amount % 40):
                    placed += 1
                    kind = "histogram" if placed % 3 == 0 else "counter"
                    bounds = BOUNDS if kind == "histogram" else ()
                    ring.place("f", kind, ("n",), (str(placed),), bounds)
            elif action == "gap":
                now_s += amount * tier.step_s
            elif action == "lap":
                now_s += (tier.frames + amount) * tier.step_s
            elif action == "boot":
                boot += 1
            elif action == "reopen":
                ring.close()
                ring = open_ring(path)
            else:
                now_s += tier.step_s
                cells = cells_of(ring, float(amount))
                ring.write(tier, now_s, boot, cells)
                model[now_s] = (boot, list(cells))
        # A frame stands until the one at its place is written over.
        newest_at = {time_s // tier.step_s % tier.frames: time_s for time_s in sorted(model)}
        expected = {time_s: model[time_s] for time_s in newest_at.values()}
        assert ring.times(tier) == sorted((time_s, of[0]) for time_s, of in expected.items())
        for time_s, (of, values) in expected.items():
            frame = ring.frame(tier, time_s)
            assert frame is not None
            assert (frame.boot, list(frame.cells)) == (of, values)
        ring.close()


def test_a_frame_cut_in_the_middle_of_its_write_counts_as_not_there(path: Path) -> None:
    """At every byte: the frame is the old one, the new one, or none; never a mixture."""
    ring = open_ring(path)
    ring.place("f", "gauge")
    old, new = array("d", [1.0]), array("d", [2.0])
    first_s, second_s = 1_800_000_000, 1_800_000_000 + FINE.frames
    ring.write(FINE, first_s, 7, old)
    before = path.read_bytes()
    ring.write(FINE, second_s, 7, new)
    after = path.read_bytes()
    ring.close()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    seen = set()
    for at in range(changed[0], changed[-1] + 2):
        path.write_bytes(after[:at] + before[at:])
        again = open_ring(path)
        frames = [again.frame(FINE, first_s), again.frame(FINE, second_s)]
        seen.add(tuple(None if frame is None else frame.cells[0] for frame in frames))
        again.close()
    assert seen == {(1.0, None), (None, None), (None, 2.0)}


WRITER = """
import sys, time
from array import array
from pathlib import Path
from tidegate.control.live.ring import FINE, open_ring
ring = open_ring(Path(sys.argv[1]))
for number in range(400):
    ring.place("f", "counter", ("n",), (str(number),))
print("ready", flush=True)
for second in range(1_800_000_000, 1_800_000_000 + 10**7):
    ring.write(FINE, second, 1, array("d", [float(second)]) * ring.columns)
"""


def test_a_killed_writer_leaves_whole_frames_only(path: Path) -> None:
    """SIGKILL at any moment: the file opens, each frame is of one second, one at most is lost."""
    for turn in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 0.15 + turn * 0.02
        while time.monotonic() < deadline:
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        ring = open_ring(path)
        times = [time_s for time_s, _ in ring.times(FINE)]
        assert len(ring.series) == 400
        assert len(times) >= FINE.frames - 1
        for time_s in times:
            frame = ring.frame(FINE, time_s)
            assert frame is not None
            assert set(frame.cells) == {float(time_s)}
        ring.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"\0" * len(data),
        lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:],  # another version
        lambda data: data[:64] + b"\xff" * 8 + data[72:],  # names beyond their room
        lambda data: data[:4096] + b"\xff" * 64 + data[4160:],  # a damaged name
    ],
)
def test_a_file_that_is_not_good_is_begun_anew(path: Path, damage: object) -> None:
    """Whatever is wrong with it: no error, no reading, and it works."""
    ring = open_ring(path)
    ring.place("f", "gauge")
    ring.write(FINE, 1_800_000_000, 1, array("d", [5.0]))
    ring.close()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    again = open_ring(path)
    assert again.series == []
    assert again.times(FINE) == []
    assert again.is_kept
    again.place("g", "gauge")
    again.write(FINE, 1_800_000_001, 1, array("d", [6.0]))
    again.close()
    third = open_ring(path)
    assert third.times(FINE) == [(1_800_000_001, 1)]
    third.close()


def test_the_file_is_the_owners_alone_and_never_grows_by_itself(path: Path) -> None:
    """Mode 0600, also where it was wider; its size is all there from the start."""
    ring = open_ring(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_blocks * 512 >= ring.size_bytes
    assert ring.size_bytes < 6_000_000
    ring.close()
    path.chmod(0o644)
    open_ring(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_more_series_make_a_larger_file_with_the_same_readings(path: Path) -> None:
    """Up to the cap; beyond it only reserved series have columns."""
    ring = open_ring(path)
    ring.place("f", "counter", ("n",), ("first",))
    ring.write(FINE, 1_800_000_000, 1, array("d", [3.0]))
    for number in range(FIRST_COLUMNS * 3):
        assert ring.place("f", "counter", ("n",), (str(number),)) is not None
    frame = ring.frame(FINE, 1_800_000_000)
    assert frame is not None
    assert list(frame.cells) == [3.0]
    assert not path.with_name("live.ring.new").exists()
    number = 0
    while ring.place("g", "counter", ("n",), (str(number),)) is not None:
        number += 1
    assert ring.columns == MAX_COLUMNS
    assert ring.place("g", "counter", ("n",), ("other",), reserved=True) is not None
    assert ring.place("g", "counter", ("n",), ("0",)) is not None  # it has one
    assert path.stat().st_size == ring.size_bytes < 90_000_000
    assert ring.columns <= MAX_COLUMNS + RESERVED_COLUMNS
    ring.close()


def test_series_of_long_gone_names_give_their_columns_back(path: Path) -> None:
    """What was not zero in any frame stays where it is asked for."""
    ring = open_ring(path)
    for name in ("idle", "busy", "idle too", "later"):
        ring.place("f", "counter", ("n",), (name,))
    ring.write(FINE, 1_800_000_000, 1, array("d", [0.0, 4.0]))
    ring.write(COARSE, 1_800_000_000, 1, array("d", [0.0, 5.0, 0.0, 6.0]))
    ring.forget_idle()
    assert [one.values for one in ring.series] == [("busy",), ("later",)]
    fine, coarse = ring.frame(FINE, 1_800_000_000), ring.frame(COARSE, 1_800_000_000)
    assert fine is not None
    assert coarse is not None
    assert (list(fine.cells), list(coarse.cells)) == ([4.0], [5.0, 6.0])
    ring.close()
    again = open_ring(path)
    assert again.columns == 2
    again.close()


def test_one_process_at_a_time_has_the_file(path: Path) -> None:
    """A successor waits for its predecessor; a dead one holds nothing."""
    ring = open_ring(path)
    with pytest.raises(BlockingIOError):
        open_ring(path)
    for number in range(FIRST_COLUMNS + 1):  # another file by now
        ring.place("f", "counter", ("n",), (str(number),))
    with pytest.raises(BlockingIOError):
        open_ring(path)
    ring.close()
    open_ring(path).close()


def test_without_room_the_readings_live_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a folder that cannot be written to, costs the file and nothing else."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ring_module.os, "posix_fallocate", full)
    ring = open_ring(path)
    assert not ring.is_kept
    ring.place("f", "gauge")
    ring.write(FINE, 1_800_000_000, 1, array("d", [5.0]))
    frame = ring.frame(FINE, 1_800_000_000)
    assert frame is not None
    assert frame.cells[0] == 5.0
    ring.close()
    assert os.listdir(path.parent) == []
