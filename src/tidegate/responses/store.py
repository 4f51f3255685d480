"""Responses on disk: one file each, below the data directory.

    responses/3f/3f9a…          named by a digest of the key's id and the response's
    responses/3f/3f9a….input    what it was asked with, where that is large
    responses/3f/3f9a….events   what is told while it is made in the background
    responses/3f/3f9a….item     whose an item of a response is that a provider keeps

Nobody finds a response without the key that made it: the name itself depends on it. A file is
written beside its place and moved there, so that another worker, or the next process after a
kill -9, sees all of it or nothing. Nothing is synced: a machine that loses power may lose the
last seconds, which then read as if they had never been kept.

Writing a small record takes some 60 µs and is done on the loop, before the caller has the end
of its answer: it can go on from it at once, at any worker. Everything else is done in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tidegate.responses.event_log import (
    EventLog,
    EventReader,
    ask_to_cancel,
    is_live,
)
from tidegate.responses.item_owners import ItemOwners
from tidegate.responses.log_room import ROOM_FILE, LogRoom
from tidegate.responses.record import Record, decode_record, encode_record
from tidegate.responses.record_files import (
    BESIDE,
    UNFINISHED,
    Missing,
    held,
    name_unfinished,
    remove,
    unlink,
    write_whole,
)
from tidegate.stores.owned_objects import Standing

if TYPE_CHECKING:
    from tidegate.config.snapshot import ResponsesSnapshot

log = logging.getLogger("tidegate.responses")

T = TypeVar("T")

FOLDER = "responses"
#: An input that is larger is written in a thread, before the request goes out.
INLINE_INPUT_BYTES = 64 * 1024
#: Most responses that one may go on from.
MAX_CHAIN = 1_000

_SWEEP_FILE = "sweep.lock"
_LOCKS = (_SWEEP_FILE, ROOM_FILE)
_UNFINISHED_S = 3_600.0
_SWEEP_S = 600.0
#: A sweep for room leaves this share of it.
_ROOM = 0.9
_BLOCK = 4096


class ResponseStore:
    """Keeps responses for the workers of one instance.

    Args:
        folder: The data directory.
        settings: `store`: whether prompts and answers may be kept; where providers keep a response
            is remembered in any case. `keep_s`: seconds after its last use that one is deleted.
            `max_bytes`: room for all of them; the longest unused go first. Each worker looks every
            ten minutes, and after having written a sixteenth of it.
    """

    def __init__(self, folder: Path, settings: ResponsesSnapshot) -> None:
        self._folder = folder / FOLDER
        self._settings = settings
        self._items = ItemOwners(self._folder)
        self._room = LogRoom(self._folder, settings.max_bytes)
        self._threads: ThreadPoolExecutor | None = None
        self._written = 0
        self._sweep_at = 0.0
        self._quiet_until = 0.0

    @property
    def keeps_content(self) -> bool:
        """Whether prompts and answers may be kept."""
        return self._settings.store

    def use(self, settings: ResponsesSnapshot) -> None:
        """Take other settings; what is over them goes with the next sweep."""
        self._settings = settings
        self._room.use(settings.max_bytes)

    def close(self) -> None:
        """Wait for no one: what a thread was doing may be left undone."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None
        self._room.close()

    # --- on the loop ------------------------------------------------------------------------

    def put(self, key_id: str, response_id: str, record: Record, staged: Path | None) -> bool:
        """Keep a response; False, and a line in the log, where that cannot be done.

        Args:
            key_id: The key that made it.
            response_id: Its id.
            record: What is kept of it.
            staged: Its input, from `stage`; None where the record holds it.
        """
        place = self._place(key_id, response_id)
        record.apart = record.apart or staged is not None
        data = encode_record(record)
        try:
            try:
                write_whole(place, data, staged)
            except FileNotFoundError:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(place, data, staged)
        except OSError as error:
            self._complain(error)
            return False
        self._note_written(max(len(data), _BLOCK))
        return True

    def note_items(self, key_id: str, item_ids: Iterable[str]) -> None:
        """Remember whose items are that a provider keeps; a line in the log where that fails."""
        try:
            new = self._items.note(key_id, item_ids)
        except OSError as error:
            self._complain(error)
            return
        if new:
            self._note_written(new * _BLOCK)

    def _note_written(self, size_bytes: int) -> None:
        self._written += size_bytes
        now = time.monotonic()
        if now >= self._sweep_at or self._written > self._settings.max_bytes // 16:
            self._sweep_at = now + _SWEEP_S
            self._written = 0
            self._pool().submit(self._sweep_once)

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + 60.0
            log.error("a response could not be kept", extra={"fields": {"error": error.strerror}})

    # --- in a thread ------------------------------------------------------------------------

    async def stage(self, data: bytes) -> Path | None:
        """Write a large input, to be moved to its place by `put`; None where it cannot be."""
        try:
            return await self._in_thread(lambda: self._stage(data))
        except OSError as error:
            self._complain(error)
            return None

    async def get(self, key_id: str, response_id: str) -> Record:
        """Return a response of a key. Raises `Missing`."""
        place = self._place(key_id, response_id)
        return await self._in_thread(lambda: self._read(place))

    async def chain(self, key_id: str, response_id: str) -> list[Record]:
        """Return a response and those that it goes on from, the oldest first.

        It ends at one that a provider keeps, with all before it. Raises `Missing`. All are used
        by this, so none of them is due for deletion.
        """
        return await self._in_thread(lambda: self._chain(key_id, response_id))

    async def end_lost(
        self, key_id: str, response_id: str, end: Callable[[bytes], bytes]
    ) -> Record:
        """Return a response; one whose maker was killed is ended first, by *end*.

        What somebody deletes meanwhile stays deleted. Raises `Missing`.
        """
        place = self._place(key_id, response_id)
        return await self._in_thread(lambda: self._end_lost(place, end))

    async def item_standings(self, key_id: str, item_ids: Collection[str]) -> dict[str, Standing]:
        """Return for items that providers keep whose they are, as a key sees it."""
        items = self._items
        return await self._in_thread(
            lambda: {item_id: items.standing(key_id, item_id) for item_id in item_ids}
        )

    async def discard(self, staged: Path) -> None:
        """Delete an input whose request brought no response."""
        await self._in_thread(lambda: unlink(staged))

    async def delete(self, key_id: str, response_id: str) -> None:
        """Delete a response; one that goes on from it cannot be gone on from any more."""
        place = self._place(key_id, response_id)
        await self._in_thread(lambda: remove(place))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool(), work)

    def _pool(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="responses")
        return self._threads

    def _place(self, key_id: str, response_id: str) -> Path:
        name = f"{len(key_id)}:{key_id}{response_id}".encode("utf-8", "replace")
        digest = hashlib.blake2b(name, digest_size=20, person=b"tg-responses").hexdigest()
        return self._folder / digest[:2] / digest

    def _stage(self, data: bytes) -> Path:
        staged = Path(name_unfinished(f"{self._folder}/"))
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(staged, data)
        return staged

    def _read(self, place: Path) -> Record:
        try:
            with place.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime < time.time() - self._settings.keep_s:
                    raise Missing
                record = decode_record(file.read())
            if record.apart:
                record.input = place.with_suffix(BESIDE).read_bytes()
        except (OSError, msgspec.DecodeError):
            raise Missing from None
        return record

    def _end_lost(self, place: Path, end: Callable[[bytes], bytes]) -> Record:
        record = self._read(place)
        if not record.running or is_live(place):
            return record
        with held(place):
            # Its maker writes the end before it lets go of the events: it may have just now.
            record = self._read(place)
            if record.running:
                record.running = False
                record.response = end(record.response)
                given = b"" if record.apart else record.input
                data = encode_record(msgspec.structs.replace(record, input=given))
                try:
                    write_whole(place, data)
                except OSError as error:
                    self._complain(error)
            return record

    def _chain(self, key_id: str, response_id: str) -> list[Record]:
        found: list[Record] = []
        seen: set[str] = set()
        while response_id:
            if response_id in seen or len(found) >= MAX_CHAIN:
                raise Missing
            seen.add(response_id)
            place = self._place(key_id, response_id)
            record = self._read(place)
            for used in (place, place.with_suffix(BESIDE)) if record.apart else (place,):
                with contextlib.suppress(FileNotFoundError):  # deleted just now; it was there
                    os.utime(used)
            found.append(record)
            response_id = "" if record.provider else record.previous
        return found[::-1]

    # --- in the background ------------------------------------------------------------------

    def open_log(self, key_id: str, response_id: str) -> EventLog:
        """Return a new log of a response that is going to be made here. Raises `OSError`."""
        place = self._place(key_id, response_id)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return EventLog(place, self._room, self._note_written)

    def check_size(self, response: bytes) -> None:
        """Raise `LogFull` where a response is larger than one log may be."""
        self._room.check(len(response))

    def read_log(self, key_id: str, response_id: str) -> EventReader:
        """Return the events of a response. Raises `OSError` where there are none."""
        return EventReader(self._place(key_id, response_id))

    def is_live(self, key_id: str, response_id: str) -> bool:
        """Whether a response is being made by any worker."""
        return is_live(self._place(key_id, response_id))

    def ask_to_cancel(self, key_id: str, response_id: str) -> None:
        """Ask the worker that makes a response to stop. Raises `OSError`."""
        ask_to_cancel(self._place(key_id, response_id))

    # --- sweeping ---------------------------------------------------------------------------

    def _sweep_once(self) -> None:
        """Delete what is too old and, where room is short, what was unused longest."""
        try:
            handle = os.open(self._folder / _SWEEP_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._complain(error)
            return
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.sweep(time.time())
        except BlockingIOError:
            pass  # another worker is at it
        except OSError as error:
            self._complain(error)
        finally:
            os.close(handle)

    def sweep(self, now_s: float) -> None:
        """Delete all that has to go at the Unix time *now_s*."""
        left: list[tuple[float, int, str]] = []
        for folder in (str(self._folder), *self._folders()):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # its owner was first
                        self._look_at(entry, now_s, left)
            time.sleep(0)  # the loop goes first
        room = self._settings.max_bytes // _BLOCK
        used = sum([blocks for _, blocks, _ in left])
        if used <= room:
            return
        left.sort()
        for _, blocks, path in left:
            if used <= room * _ROOM:
                break
            if is_live(Path(path).with_suffix("")):
                continue  # it is being made: its maker would go on, and nobody could stop it
            unlink(path)
            used -= blocks

    def _look_at(
        self, entry: os.DirEntry[str], now_s: float, left: list[tuple[float, int, str]]
    ) -> None:
        """Delete a file that is too old; add any other to *left*."""
        if not entry.is_file(follow_symlinks=False) or entry.name in _LOCKS:
            return
        found = entry.stat(follow_symlinks=False)
        limit_s = self._settings.keep_s
        if entry.name.endswith(UNFINISHED):
            limit_s = min(_UNFINISHED_S, limit_s)
        if found.st_mtime < now_s - limit_s:
            unlink(entry.path)
        else:
            left.append((found.st_mtime, -(-found.st_size // _BLOCK), entry.path))

    def _folders(self) -> list[str]:
        with os.scandir(self._folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
