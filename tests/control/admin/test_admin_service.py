"""The control port over reloads: opened, moved and closed while the process lives."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.free_ports import free_port

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import ControlSnapshot, EdgeSnapshot, MetricsSnapshot, Snapshot
from tidegate.control.admin.service import AdminService
from tidegate.control.eventlog import EventLog
from tidegate.memory import CONTROL_SLOT, Segment
from tidegate.metrics.registry import Registry

PEPPER = bytes(32)


def snapshot(data_dir: Path, port: int) -> Snapshot:
    return Snapshot(
        generation=1,
        edge=EdgeSnapshot(),
        providers=(),
        models=(),
        limits=(),
        default_limits=(),
        metrics=MetricsSnapshot(),
        pepper=PEPPER,
        data_dir=str(data_dir),
        control=ControlSnapshot(port=port),
    )


async def status_of(port: int) -> int:
    """Return the status of `GET /api/session` with the token; 0 when nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return 0
    try:
        writer.write(
            b"GET /api/session HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer tga_x\r\n"
            b"connection: close\r\n\r\n"
        )
        answer = await asyncio.wait_for(reader.read(), 10)
        return int(answer.split()[1]) if answer else -1
    finally:
        writer.close()


async def until(port: int, status: int) -> None:
    for _ in range(200):
        if await status_of(port) == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"port {port} never answered {status}")


async def test_a_reload_moves_and_closes_the_port(tmp_path: Path) -> None:
    """The old address is free at once; the token stays."""
    segment = Segment.create(worker_slots=4)
    service = AdminService(Registry(segment, CONTROL_SLOT), EventLog("control", level="error"))
    service.set_digest(key_digest(PEPPER, "tga_x"))
    first, second = free_port(), free_port()
    try:
        service.configure(snapshot(tmp_path, first), "http://gateway")
        await until(first, 200)
        service.configure(snapshot(tmp_path, second), "http://gateway")
        await until(second, 200)
        assert await status_of(first) == 0
        service.configure(snapshot(tmp_path, 0), "http://gateway")
        await until(second, 0)
        service.configure(snapshot(tmp_path, first), "http://gateway")
        await until(first, 200)
    finally:
        await service.close()
        segment.close()
    assert await status_of(first) == 0


async def test_a_port_nobody_visited_closes_as_well(tmp_path: Path) -> None:
    """Its server is only imported at the first connection."""
    segment = Segment.create(worker_slots=4)
    service = AdminService(Registry(segment, CONTROL_SLOT), EventLog("control", level="error"))
    port = free_port()
    service.configure(snapshot(tmp_path, port), "http://gateway")
    for _ in range(100):
        await asyncio.sleep(0.02)
        if (tmp_path / "live.ring").exists():
            break
    await service.close()
    assert await status_of(port) == 0
    segment.close()
