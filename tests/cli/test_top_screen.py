"""The terminal application of `tidegate top`, by its own pilot and in a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest
import top_stand as stand
from tests.running import RunningGateway

pytest.importorskip("textual", reason="textual is not installed: the extra `top`")

from textual.pilot import Pilot  # (after the question whether it is there)

from tidegate.cli.top.board import Status
from tidegate.cli.top.screen import TopScreen


def picture(screen: TopScreen) -> list[str]:
    """Return what the terminal shows, line by line."""
    strips = screen.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


async def showing(pilot: Pilot[None], text: str, within_s: float = 5.0) -> list[str]:
    """Wait until *text* is on the screen; return its lines."""
    assert isinstance(pilot.app, TopScreen)
    deadline = time.monotonic() + within_s
    while True:
        await pilot.pause(0.05)
        lines = picture(pilot.app)
        if any(text in line for line in lines):
            return lines
        assert time.monotonic() < deadline, "\n".join(lines)


async def test_the_overview_fits_80_by_24() -> None:
    """Head, tabs, tiles, four charts, the alerts and the keys, all without scrolling."""
    screen = TopScreen(stand.ToldSource(*stand.everything()))
    async with screen.run_test(size=(80, 24)) as pilot:
        await showing(pilot, "TidegateProviderDown")
        lines = await showing(pilot, "Pause")
    assert len(lines) == 24
    assert lines[0].startswith(" gate-1 0.1.0  ready  2/2 workers  up 1h 00m  1 alert")
    assert " ".join(lines[1].split()) == "1 Overview 2 Providers 3 Keys 4 Limits 5 Requests"
    assert "12.0 /s" in lines[4]
    for title in ("allowed", "blocked", "latency p95", "output tokens"):
        assert any(line.strip().startswith(title) for line in lines)
    assert lines[23].split() == ["p", "Pause", "q", "Quit"]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 8), (200, 60)])
async def test_each_number_turns_to_its_page(size: tuple[int, int]) -> None:
    """In any size of terminal; nothing is wider than it."""
    marks = {"2": "provider", "3": "key", "4": "limit", "5": "time", "1": "requests"}
    screen = TopScreen(stand.ToldSource(*stand.everything()))
    async with screen.run_test(size=size) as pilot:
        await showing(pilot, "gate-1")
        for key, mark in marks.items():
            await pilot.press(key)
            lines = await showing(pilot, mark)
            assert all(len(line) <= size[0] for line in lines)


async def test_arrows_scroll_a_long_page_and_a_new_page_begins_at_its_top() -> None:
    """The focus is on the page from the start."""
    rows = [stand.request(number, key=f"key-{number}") for number in range(60)]
    source = stand.ToldSource(*stand.everything(), stand.Recent(rows, is_whole=True))
    screen = TopScreen(source)
    async with screen.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        await showing(pilot, "key-59")
        await pilot.press("end")
        await showing(pilot, "key-0 ")
        await pilot.press("2")
        await showing(pilot, "provider")
        await pilot.press("5")
        await showing(pilot, "key-59")


async def test_pause_holds_the_picture_and_nothing_is_lost() -> None:
    """What came meanwhile is there when it goes on."""
    source = stand.ToldSource(*stand.everything())
    screen = TopScreen(source)
    async with screen.run_test(size=(80, 24)) as pilot:
        await showing(pilot, "12.0 /s")
        await pilot.press("p")
        await showing(pilot, "paused")
        for second in range(1, 6):
            source.news.put(stand.sample(second, requests=99.0))
        await pilot.pause(0.4)
        assert source.news.empty()
        assert any("12.0 /s" in line for line in picture(screen))
        await pilot.press("p")
        lines = await showing(pilot, "99.0 /s")
        assert "paused" not in lines[0]


async def test_q_ends_it_and_its_source() -> None:
    """With exit status 0."""
    source = stand.ToldSource(*stand.everything())
    screen = TopScreen(source)
    async with screen.run_test(size=(80, 24)) as pilot:
        await showing(pilot, "gate-1")
        assert source.is_running
        await pilot.press("q")
    assert not source.is_running
    assert (screen.return_code, screen.failure) == (0, None)


async def test_a_final_status_ends_it_with_the_reason() -> None:
    """As for a token that is refused."""
    screen = TopScreen(stand.ToldSource(Status("401: wrong", is_final=True)))
    async with screen.run_test(size=(80, 24)) as pilot:
        deadline = time.monotonic() + 5
        while screen.failure is None:
            assert time.monotonic() < deadline
            await pilot.pause(0.02)
    assert (screen.return_code, screen.failure) == (1, "401: wrong")


async def test_a_lost_connection_is_told_over_the_last_picture() -> None:
    """The figures stay, and the head says that they are old."""
    source = stand.ToldSource(*stand.everything(), Status("no answer from there"))
    screen = TopScreen(source)
    async with screen.run_test(size=(80, 24)) as pilot:
        lines = await showing(pilot, "no answer from there")
    assert any("12.0 /s" in line for line in lines)


class Terminal:
    """A terminal of 80 by 24 with a program in it."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""
        self._fd = ours
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def close(self) -> None:
        """End the program, if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def write(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def read_until(self, true: re.Pattern[str], within_s: float = 20.0) -> None:
        """Read until the output matches, or the program has ended."""
        deadline = time.monotonic() + within_s
        while not true.search(self.text):
            assert time.monotonic() < deadline, self.text[-2000:]
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            assert data or true.search(self.text), self.text[-2000:]
            self.text += data.decode("utf-8", "replace")

    def ended(self) -> int:
        """Read on until the program ends; return its exit status."""
        deadline = time.monotonic() + 15
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text[-2000:]
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._fd, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        return self.process.wait(10)


@pytest.mark.process
def test_in_a_real_terminal_it_shows_a_real_gateway_and_ends_at_q(tmp_path: Path) -> None:
    """The token comes from the environment, and neither output nor arguments hold it."""
    with RunningGateway(tmp_path, workers=1) as gateway:
        output = "\n".join(gateway.output)
        token = re.findall(r"tga_\w+", output)[0]
        url = re.findall(r"live view on (\S+) was made", output)[0]
        environment = {
            "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(sys.path), "TIDEGATE_ADMIN_TOKEN": token,
        }  # fmt: skip
        command = [sys.executable, "-m", "tidegate", "top", "--url", url]
        terminal = Terminal(command, environment, tmp_path)
        try:
            terminal.read_until(re.compile("1/1 workers"))
            terminal.write("5")
            terminal.read_until(re.compile("no request since you look"))
            arguments = Path(f"/proc/{terminal.process.pid}/cmdline").read_text()
            terminal.write("q")
            assert terminal.ended() == 0
        finally:
            terminal.close()
    assert token not in arguments
    assert token not in terminal.text
    assert token not in gateway.log.read_text()


@pytest.mark.process
def test_a_wrong_token_ends_it_with_the_ports_own_words(tmp_path: Path) -> None:
    """After the screen is given back, on one line, with exit status 1."""
    with RunningGateway(tmp_path, workers=1) as gateway:
        url = re.findall(r"live view on (\S+) was made", "\n".join(gateway.output))[0]
        (tmp_path / "token").write_text("tga_wrong\n")
        environment = {
            "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        command = [sys.executable, "-m", "tidegate", "top", "--url", url, "--token", "file:token"]
        terminal = Terminal(command, environment, tmp_path)
        try:
            assert terminal.ended() == 1
        finally:
            terminal.close()
    assert "tidegate top: 401: " in terminal.text
    assert "Traceback" not in terminal.text
    assert "tga_wrong" not in terminal.text
