"""The terminal application: a head, five pages, and the keys that turn them."""

from __future__ import annotations

import queue
from typing import ClassVar, Final, Protocol

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Static, Tab, Tabs
from typing_extensions import override

from tidegate.cli.top.board import Board, News
from tidegate.cli.top.layout import Line
from tidegate.cli.top.pages import PAGES, head

LOOK_S: Final = 0.1
_NAMES: Final = tuple(PAGES)


class Source(Protocol):
    """Where news come from; `top.feed.Feed`."""

    news: queue.SimpleQueue[News]

    def start(self) -> None:
        """Begin to put news in."""

    def stop(self) -> None:
        """End it."""


class TopScreen(App[None]):
    """Shows a board that a source keeps up to date.

    Attributes:
        board: What is known.
        failure: Why it ended by itself; None when the user ended it.
    """

    CSS = """
    #head { height: 1; }
    Tabs { height: 2; }
    #scroll { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    """
    TITLE = "tidegate top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"show('{name}')", name, show=False)
            for number, name in enumerate(_NAMES, 1)
        ),
        Binding("p", "pause", "Pause"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, source: Source) -> None:
        # The terminal's own colours: whoever has a light one sees a light one.
        super().__init__(ansi_color=True)
        self.board = Board()
        self.failure: str | None = None
        self._source = source
        self._page = _NAMES[0]
        self._is_paused = False
        self._head = Static(id="head")
        self._body = Static(id="body")

    @override
    def compose(self) -> ComposeResult:
        """Make the widgets (textual calls this)."""
        yield self._head
        yield Tabs(*(Tab(f"{number} {name}", id=name) for number, name in enumerate(_NAMES, 1)))
        with VerticalScroll(id="scroll"):
            yield self._body
        yield Footer()

    def on_mount(self) -> None:
        """Begin to listen (textual calls this)."""
        self.query_one("#scroll").focus()
        self._source.start()
        self.set_interval(LOOK_S, self._look)
        self.call_after_refresh(self._paint)

    def on_unmount(self) -> None:
        """End the source (textual calls this)."""
        self._source.stop()

    def on_resize(self) -> None:
        """Lay out anew (textual calls this)."""
        self.call_after_refresh(self._paint)

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Turn to the page of a tab."""
        if event.tab.id is not None and event.tab.id != self._page:
            self._page = event.tab.id
            self.query_one("#scroll").scroll_home(animate=False)
            self._paint()

    def action_show(self, name: str) -> None:
        """Turn to the page called *name*."""
        self.query_one(Tabs).active = name

    def action_pause(self) -> None:
        """Hold the picture still, or let it go on; what comes meanwhile is kept."""
        self._is_paused = not self._is_paused
        self._paint_head()
        if not self._is_paused:
            self._paint()

    def _look(self) -> None:
        """Take what has come since the last time."""
        is_new = False
        while True:
            try:
                news = self._source.news.get_nowait()
            except queue.Empty:
                break
            self.board.take(news)
            is_new = True
        status = self.board.status
        if status.is_final:
            self.failure = status.text
            self.exit(return_code=1)
        elif is_new and not self._is_paused:
            self._paint()

    def _paint(self) -> None:
        self._paint_head()
        width = max(20, self.query_one("#scroll").scrollable_content_region.width)
        self._body.update(_content(PAGES[self._page](self.board, width)))

    def _paint_head(self) -> None:
        self._head.update(_content([head(self.board, self.size.width, paused=self._is_paused)]))


def _content(lines: list[Line]) -> Content:
    newline = Content("\n")
    return newline.join(
        Content.assemble(*((text, style) for text, style in line if text)) for line in lines
    )
