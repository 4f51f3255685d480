"""What stands behind the browser: a gateway, its clients, and a tab that keeps its troubles."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.openai_upstream import KEY
from tests.free_ports import free_port
from tests.running import RunningGateway

CI_KEY, BOT_KEY = "tg-browser-ci-0123456789", "tg-browser-bot-0123456789"
CONFIG = """
providers:
  acme:  {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
  spare: {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
models:
  fast:  {{targets: [{{provider: spare, model: fast}}]}}
  shaky: {{targets: [{{provider: acme, model: fails}}], fallbacks: [fast]}}
limits:
  per-key: {{per: key, requests: 100000, window: 1m}}
  tight:   {{per: key, requests: 60, window: 1m, burst: 3}}
keys:
  ci:  {{secret: env:CI_KEY, limits: [per-key], team: build}}
  bot: {{secret: env:BOT_KEY, limits: [tight]}}
"""
ENVIRONMENT = {"ACME_KEY": KEY, "CI_KEY": CI_KEY, "BOT_KEY": BOT_KEY}
_NEVER_EXPECTED = re.compile(r"Content.Security.Policy|Refused to|Uncaught|TypeError", re.I)


@dataclass(frozen=True)
class ControlPort:
    """Where the pages are, and the admin token that opens them."""

    url: str
    token: str
    address: str
    supervisor_pid: int


@dataclass
class Visit:
    """A tab, and what went wrong in it so far."""

    page: Any
    place: ControlPort
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", self._note)
        self.page.on("response", self._note_answer)

    def sign_in(self, fragment: str = "") -> None:
        """Open the pages and give the token."""
        self.page.goto(f"{self.place.url}/{fragment}")
        self.page.get_by_label("Admin token").fill(self.place.token)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", level=1).wait_for()
        self.page.locator(".link.live").wait_for()

    def go(self, fragment: str) -> None:
        """Follow a deep link inside the application, and wait for its content."""
        self.page.goto(f"{self.place.url}/{fragment}")
        self.page.locator("main .card").first.wait_for()
        self.page.wait_for_function(
            "() => document.querySelectorAll('main .skeleton').length === 0"
        )

    def _note(self, message: Any) -> None:
        if message.type not in ("error", "warning"):
            return
        # The one expected line: a first visit asks whether there is a session, and there is none.
        if "401" not in message.text or _NEVER_EXPECTED.search(message.text):
            self.problems.append(f"console: {message.text}")

    def _note_answer(self, answer: Any) -> None:
        if answer.status >= 400 and answer.status != 401:
            self.problems.append(f"{answer.status} {answer.url}")


def start(folder: Path, config: str | None, environment: dict[str, str]) -> tuple[Any, ControlPort]:
    """Start a gateway whose control port is known."""
    port = free_port()
    gateway = RunningGateway(
        folder, config, environment=environment, arguments=("--control-port", str(port))
    )
    gateway.start()
    token = re.search(r"\btga_\S+", "\n".join(gateway.output))
    if token is None:
        gateway.stop()
        raise AssertionError(f"no admin token was printed: {gateway.output}")
    assert gateway.process is not None
    url = f"http://127.0.0.1:{port}"
    return gateway, ControlPort(url, token[0], gateway.url, gateway.process.pid)


def control_pid(place: ControlPort) -> int:
    """Return the process that serves the pages."""
    for task in Path(f"/proc/{place.supervisor_pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"tidegate.control.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no control process")


def ask(address: str, key: str, model: str, *, stream: bool = False) -> int:
    """Send one chat request, read its answer to the end, return its status."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            error.read()
            return error.code


def send_traffic(address: str, ended: threading.Event) -> None:
    """About twenty requests a second: whole, streamed, rescued, blocked, refused."""
    for number in range(6000):
        model = "shaky" if number % 5 == 0 else "fast"
        with contextlib.suppress(OSError):  # the gateway stops before its clients do
            ask(address, CI_KEY, model, stream=number % 2 == 0)
            if number % 4 == 0:
                ask(address, BOT_KEY, "fast")
            if number % 25 == 0:
                ask(address, "tg-nobody-has-this-key-0123456789", "fast")
        # A rate that changes by the second, so that figures on the page must move.
        if ended.wait(0.03 if number % 60 < 30 else 0.12):
            return
