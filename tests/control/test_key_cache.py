"""The keys of the last time: trusted when whole, ours and fresh; else there are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import KeySnapshot
from tidegate.control.keycache import CACHE_FILE, MAX_AGE_S, KeyCache

PEPPER = b"p" * 32
ADDRESS = "postgresql://tidegate@db/tidegate"
NOW_S = 1_800_000_000.0
SECRET = "tg-0123456789012345678901234567890123456789012"
KEYS = (KeySnapshot("key_a", "ci", key_digest(PEPPER, SECRET), limits=("x",), expires_at_ms=5),)


def cache(
    folder: Path, pepper: bytes = PEPPER, address: str = ADDRESS, now_s: float = NOW_S
) -> KeyCache:
    """Return the cache of *folder* at a moment."""
    return KeyCache(folder, pepper, address, wall_s=lambda: now_s)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """With every field; the file is private and holds no secret."""
    assert cache(tmp_path).load() is None
    cache(tmp_path).save(KEYS)
    assert cache(tmp_path).load() == KEYS
    assert os.listdir(tmp_path) == [CACHE_FILE]
    assert (tmp_path / CACHE_FILE).stat().st_mode & 0o777 == 0o600
    assert SECRET.encode() not in (tmp_path / CACHE_FILE).read_bytes()
    cache(tmp_path).save(())
    assert cache(tmp_path).load() == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
        lambda data: b"\0\0\0\0",
    ],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Torn by a loss of power, cut by a full disk, or changed."""
    cache(tmp_path).save(KEYS)
    path = tmp_path / CACHE_FILE
    path.write_bytes(spoil(path.read_bytes()))
    os.utime(path, (NOW_S, NOW_S))
    assert cache(tmp_path).load() is None


def test_keys_of_another_database_or_pepper_are_not_served(tmp_path: Path) -> None:
    """A host that was pointed elsewhere must not let in whom the old database knew."""
    cache(tmp_path).save(KEYS)
    assert cache(tmp_path, address=ADDRESS + "2").load() is None
    assert cache(tmp_path, pepper=b"q" * 32).load() is None


def test_keys_that_nobody_has_confirmed_for_a_day_are_not_served(tmp_path: Path) -> None:
    """Another host may have revoked them; the database's last word counts, not the last change."""
    cache(tmp_path).save(KEYS)
    assert cache(tmp_path, now_s=NOW_S + MAX_AGE_S).load() == KEYS
    assert cache(tmp_path, now_s=NOW_S + MAX_AGE_S + 1).load() is None
    cache(tmp_path, now_s=NOW_S + MAX_AGE_S).confirm()
    assert cache(tmp_path, now_s=NOW_S + 2 * MAX_AGE_S).load() == KEYS
