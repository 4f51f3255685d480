"""The instance's secret that key digests are made with."""

from __future__ import annotations

import os
import secrets
import stat
from _blake2 import blake2b
from pathlib import Path
from typing import Final

from tidegate.config.secret import Secret
from tidegate.errors import ConfigError

PEPPER_FILE: Final = "secret.key"
PEPPER_BYTES: Final = 32
_PERSON: Final = b"tidegate-pepper"


def prepare_data_dir(data_dir: Path) -> None:
    """Make *data_dir* (mode 0700 when it is new).

    Raises:
        ConfigError: It cannot be made or written to.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot make {data_dir}: {error.strerror}"
        raise ConfigError([("server.data_dir", reason)]) from error
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([("server.data_dir", f"{data_dir} cannot be written to by this user")])


def find_pepper(setting: Secret | None, data_dir: Path) -> tuple[bytes, str | None]:
    """Return the pepper that `stores.pepper` gives, else that of *data_dir*.

    Returns and raises as `load_or_create_pepper` does.
    """
    if setting is None:
        return load_or_create_pepper(data_dir)
    prepare_data_dir(data_dir)
    # Of any length and alphabet: what is used has the length of the file's.
    return blake2b(
        setting.reveal().encode(), digest_size=PEPPER_BYTES, person=_PERSON
    ).digest(), None


def load_or_create_pepper(data_dir: Path) -> tuple[bytes, str | None]:
    """Return the 32 secret bytes in `data_dir/secret.key`, made at the first call.

    Returns:
        The bytes, and a warning when other users could have read the file (its mode is
        then narrowed to 0600), else None.

    Two processes that start at once agree on one secret: the file appears whole, by a hard
    link that only one of them can make, and is on disk before anybody uses it.

    Raises:
        ConfigError: The folder or file cannot be used. A damaged file is never replaced, as
            every stored key would stop working.
    """
    prepare_data_dir(data_dir)
    path = data_dir / PEPPER_FILE
    try:
        try:
            return _read_pepper(path)
        except FileNotFoundError:
            _create_pepper(path)
            return _read_pepper(path)
    except OSError as error:
        reason = f"cannot use {path}: {error.strerror}"
        raise ConfigError([("server.data_dir", reason)]) from error


def _read_pepper(path: Path) -> tuple[bytes, str | None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        data = file.read(PEPPER_BYTES + 1)
        if not stat.S_ISREG(status.st_mode) or len(data) != PEPPER_BYTES:
            reason = (
                f"{path} is damaged: it must hold {PEPPER_BYTES} bytes. Restore it from a backup; "
                "without it, stored keys cannot be checked"
            )
            raise ConfigError([("server.data_dir", reason)])
        if not status.st_mode & 0o077:
            return data, None
        os.fchmod(descriptor, 0o600)
    return data, f"{path} could be read by other users; its mode is 0600 now"


def _create_pepper(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(PEPPER_BYTES))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first; its secret counts
        sync_folder(path.parent)
    finally:
        draft.unlink()


def sync_folder(folder: Path) -> None:
    """Make a new name in *folder* survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
