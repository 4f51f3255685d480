"""Whose an object is: by key, over processes, through a kill, and bounded."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tidegate.stores.owned_objects import FOLDER, OwnedObject, OwnedObjects


def _file(name: str) -> OwnedObject:
    return OwnedObject(name, "file", "acme")


def test_only_the_key_that_made_it_finds_it(tmp_path: Path) -> None:
    """Another key's, an unknown one and a forgotten one look the same."""
    objects = OwnedObjects(tmp_path)
    objects.add("ann", _file("file-1"))
    assert objects.find("ann", "file-1") == _file("file-1")
    assert objects.find("ben", "file-1") is None
    assert objects.find("ann", "file-2") is None
    objects.drop("ben", "file-1")
    assert objects.find("ann", "file-1") is not None
    objects.drop("ann", "file-1")
    assert objects.find("ann", "file-1") is None


def test_the_folder_tells_no_names(tmp_path: Path) -> None:
    """Paths are digests, files are the owner's alone."""
    OwnedObjects(tmp_path).add("ann", _file("file-1"))
    (found,) = [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
    assert "ann" not in str(found.relative_to(tmp_path))
    assert "file-1" not in str(found)
    assert found.stat().st_mode & 0o077 == 0


def test_the_oldest_of_a_key_go_first_and_other_keys_lose_nothing(tmp_path: Path) -> None:
    """One key cannot push out what another has made."""
    objects = OwnedObjects(tmp_path, max_per_key=5)
    objects.add("ben", _file("his"))
    for number in range(12):
        objects.add("ann", _file(f"file-{number}"))
        # Clocks of file systems are coarse.
        os.utime(objects._place("ann", f"file-{number}"), (number, number))
    kept = [number for number in range(12) if objects.find("ann", f"file-{number}")]
    assert kept == [7, 8, 9, 10, 11]
    assert objects.find("ben", "his") is not None


def test_a_damaged_file_is_no_object(tmp_path: Path) -> None:
    """What cannot be read belongs to nobody."""
    objects = OwnedObjects(tmp_path)
    objects.add("ann", _file("file-1"))
    (found,) = [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
    found.write_bytes(b"\xc1")
    assert objects.find("ann", "file-1") is None


def _add_for_ever(folder: str, tell: int) -> None:
    objects = OwnedObjects(Path(folder), max_per_key=100_000)
    number = 0
    while True:
        objects.add("ann", _file(f"file-{number}"))
        os.write(tell, b"%d\n" % number)
        number += 1


@pytest.mark.process
def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    """A process is killed in the middle of its work: all it has told of is there, whole."""
    for _ in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                _add_for_ever(str(tmp_path), writing)
            finally:
                os._exit(1)
        os.close(writing)
        told = b""
        deadline = time.monotonic() + 10
        while told.count(b"\n") < 20 and time.monotonic() < deadline:
            told += os.read(reading, 65536)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(reading, 65536):
            told += piece
        os.close(reading)
        acknowledged = [int(line) for line in told.split(b"\n")[:-1]]
        assert len(acknowledged) >= 20
        objects = OwnedObjects(tmp_path)
        assert all(objects.find("ann", f"file-{number}") for number in acknowledged)
