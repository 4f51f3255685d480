"""A browser, and a gateway with traffic for it to look at."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_stand import CONFIG, ENVIRONMENT, ControlPort, Visit, send_traffic, start
from tests.fakes.openai_upstream import OpenAIUpstream

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by playwright."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        # The sandbox needs a user that is not root; the pages are our own.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPort]:
    """A gateway with two providers, one of them broken, two limits, and traffic all the time."""
    ended = threading.Event()
    with OpenAIUpstream() as upstream:
        config = CONFIG.format(url=upstream.url)
        gateway, place = start(tmp_path_factory.mktemp("busy"), config, ENVIRONMENT)
        clients = threading.Thread(target=send_traffic, args=(gateway.url, ended))
        clients.start()
        yield place
        ended.set()
        clients.join(20)
        gateway.stop()


@pytest.fixture
def open_tab(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """Open tabs with a fresh profile each; at the end nothing may have gone wrong in any."""
    opened: list[tuple[Any, Visit]] = []

    def open_one(place: ControlPort, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(10_000)
        visit = Visit(context.new_page(), place)
        opened.append((context, visit))
        return visit

    yield open_one
    for context, _ in opened:
        context.close()
    assert [visit.problems for _, visit in opened] == [[] for _ in opened]
