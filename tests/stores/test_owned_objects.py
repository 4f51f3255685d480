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
    files = [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]
    assert len(files) == 3
    for found in files:
        assert "ann" not in str(found.relative_to(tmp_path))
        assert "file-1" not in str(found)
        assert found.stat().st_mode & 0o077 == 0


def test_what_another_key_owns_is_told_from_what_nobody_does(tmp_path: Path) -> None:
    """At any provider, as two of them may be one account; over processes, and until dropped."""
    objects = OwnedObjects(tmp_path)
    assert not objects.in_use
    objects.add("ann", _file("file-1"))
    for seen in (objects, OwnedObjects(tmp_path)):
        assert seen.in_use
        assert seen.standing("ann", "file-1", ("acme",)) == "own"
        assert seen.standing("ben", "file-1", ("acme",)) == "other"
        assert seen.standing("ben", "file-1", ("elsewhere",)) == "other"
        assert seen.standing("ben", "file-2", ("acme",)) == "unknown"
    objects.drop("ben", "file-1")
    assert objects.standing("ben", "file-1", ("acme",)) == "other"
    objects.drop("ann", "file-1")
    assert objects.standing("ben", "file-1", ("acme",)) == "unknown"


def test_equal_ids_at_two_providers_are_two_objects(tmp_path: Path) -> None:
    """Who owns one of them may name that one, and not the other."""
    objects = OwnedObjects(tmp_path)
    objects.add("ann", OwnedObject("file-1", "file", "here"))
    objects.add("ben", OwnedObject("file-1", "file", "there"))
    assert objects.standing("ben", "file-1", ("there",)) == "own"
    assert objects.standing("ben", "file-1", ("here",)) == "other"
    assert objects.standing("ben", "file-1", ("there", "here")) == "other"
    assert objects.standing("cid", "file-1", ("there",)) == "other"
    objects.drop("ann", "file-1")
    assert objects.standing("ben", "file-1", ("there", "here")) == "own"


def test_workers_hear_of_the_first_object_at_once(tmp_path: Path) -> None:
    """The flag is shared memory: a worker that has just looked is not a step behind."""
    one, other = OwnedObjects(tmp_path), OwnedObjects(tmp_path)
    assert not other.in_use
    one.add("ann", _file("file-1"))
    assert other.in_use


def test_without_a_folder_everything_is_looked_for(tmp_path: Path) -> None:
    """Where nothing can be mapped, the check is not left out."""
    (tmp_path / FOLDER).write_text("in the way")
    assert OwnedObjects(tmp_path).in_use


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
    assert objects.standing("ben", "file-11", ("acme",)) == "other"
    assert objects.standing("ben", "file-1", ("acme",)) == "unknown"  # forgotten altogether


def test_a_damaged_file_is_no_object(tmp_path: Path) -> None:
    """What cannot be read belongs to nobody."""
    objects = OwnedObjects(tmp_path)
    objects.add("ann", _file("file-1"))
    for found in (tmp_path / FOLDER).rglob("*"):
        if found.is_file():
            found.write_bytes(b"\xc1")
    assert objects.standing("ben", "file-1", ("acme",)) == "unknown"
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
