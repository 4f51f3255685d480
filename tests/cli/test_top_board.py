"""What `tidegate top` remembers of what it was told."""

from __future__ import annotations

import top_stand as stand

from tidegate.cli.top.board import KEPT_REQUESTS, Board, Recent, Status
from tidegate.cli.top.layout import text_of
from tidegate.cli.top.pages import PAGES, head
from tidegate.control.live.answers import SampleEvent, SampleSeries


def board(*more: object) -> Board:
    """Return a board that was told everything, and then *more*."""
    told = Board()
    for news in (*stand.everything(), *more):
        told.take(news)  # type: ignore[arg-type]
    return told


def shown(page: str, told: Board, width: int = 78) -> str:
    """Return a page as text."""
    return "\n".join(text_of(line) for line in PAGES[page](told, width))


def test_a_sample_moves_every_line_by_a_second() -> None:
    """A line that it does not name has a gap there; one that is new begins with it."""
    told = board(stand.sample(1, requests=20.0, retries=0.5))
    assert told.values("total", "requests")[-3:] == [12.0, 12.0, 20.0]
    assert told.values("total", "allowed")[-2:] == [11.0, None]
    assert told.values("total", "retries") == [None] * 899 + [0.5]
    assert len(told.values("total", "requests")) == 900


def test_seconds_that_were_missed_are_gaps_and_old_samples_change_nothing() -> None:
    """After a connection was lost, or the machine slept for a day."""
    told = board(stand.sample(3, requests=20.0), stand.sample(2, requests=99.0))
    assert told.values("total", "requests")[-4:] == [12.0, None, None, 20.0]
    told.take(stand.sample(90_000, requests=1.0))
    assert told.values("total", "requests") == [None] * 899 + [1.0]


def test_a_new_history_replaces_the_lines() -> None:
    """As after a reconnection: nothing of the old one is left."""
    told = board(stand.sample(1, made_up=1.0), stand.history())
    assert told.values("total", "made_up") == [None] * 900
    assert told.now("total", "requests") == 12.0


def test_requests_are_kept_once_newest_first_and_not_too_many() -> None:
    """Those of the first answer may come again as an event."""
    told = board(Recent([stand.request(4), stand.request(9)]))
    assert [row.request_id for row in told.requests] == [
        "req_9",
        "req_4",
        "req_3",
        "req_2",
        "req_1",
    ]
    told.take(Recent([stand.request(100 + number) for number in range(300)]))
    assert len(told.requests) == KEPT_REQUESTS
    assert told.requests[0].request_id == "req_399"


def test_the_busiest_stand_first() -> None:
    """By what they did in the quarter of an hour."""
    assert board().labels("provider") == ["busy", "acme"]


def test_the_overview_has_tiles_charts_alerts_and_workers() -> None:
    """With three figures and the unit of each."""
    lines = shown("Overview", board()).splitlines()
    assert lines[0].split() == ["requests", "success", "latency", "p50", "first", "token", "p95"]
    assert lines[1].split() == ["12.0", "/s", "99.9", "%", "340", "ms", "210", "ms"]
    assert lines[3].split() == ["7", "0.40", "ms", "1.23k", "/s", "1.25", "$/h"]
    allowed = next(at for at, line in enumerate(lines) if line.startswith("allowed"))
    assert lines[allowed + 1].startswith(" 11.0 /s")
    assert lines[allowed + 1].endswith("█")
    assert any(
        line.split()[:5] == ["critical", "firing", "3m", "00s", "TidegateProviderDown"]
        for line in lines
    )
    assert lines[-1].split() == ["3", "ready", "–", "1", "–", "–", "–", "1"]
    assert all(len(line) <= 78 for line in lines)


def test_each_other_page_shows_its_tables() -> None:
    """Providers and models, keys, limits with who is near, requests with their way."""
    told = board()
    providers = shown("Providers", told)
    acme = next(row for row in providers.splitlines() if row.startswith("acme "))
    assert acme.split()[:6] == ["acme", "3.00", "0.50", "–", "2.00", "s"]
    assert "acme-large" in providers
    assert shown("Keys", told, 100).splitlines()[1].split()[:5] == ["ci", "4.00", "–", "–", "0.50"]
    limits = shown("Limits", told, 100)
    assert "per-key  key     60 in 60.0 s burst 10  enforce    1.10k       17" in limits
    assert "at-once  global  4 at once" in limits
    assert "ci      per-key  ███████████░  93.0 %     4         12.3 s" in limits
    requests = shown("Requests", told).splitlines()
    assert [line.split()[1] for line in requests[1:]] == ["401", "200", "429", "200"]
    assert requests[1].rstrip().endswith("invalid_api_key")
    assert requests[2].rstrip().endswith("acme connect ×2 → spare 200")
    assert "limit per-key" in requests[3]
    assert "11→22" in requests[4]


def test_pages_of_an_empty_gateway_say_so() -> None:
    """Before the first answer, and while nothing happens."""
    empty = Board()
    for page in PAGES:
        assert shown(page, empty)
    assert "no key was used" in shown("Keys", empty)
    assert "no limit is configured" in shown("Limits", empty)
    assert text_of(head(empty, 80, paused=False)) == " tidegate connecting"


def test_the_head_tells_how_it_stands() -> None:
    """Live, paused, or what is wrong with the connection."""
    told = board()
    assert " gate-1 0.1.0  ready  2/2 workers  up 1h 00m  1 alert  " in text_of(
        head(told, 80, paused=False)
    )
    assert text_of(head(told, 80, paused=True)).endswith("paused")
    told.take(Status("no answer from there"))
    told.take(stand.instance(ready=False, workers=[]))
    assert text_of(head(told, 100, paused=False)).endswith("no answer from there")
    assert "not ready  0/0 workers" in text_of(head(told, 80, paused=False))
    assert len(text_of(head(told, 30, paused=False))) <= 30


def test_a_hostile_gateway_cannot_steer_the_terminal() -> None:
    """Names with escapes are shown as text, on every page."""
    evil = "\x1b]0;x\x07\x1b[2J"
    told = board(
        stand.instance(name=evil),
        Recent([stand.request(50, model=evil, key=evil, endpoint=evil, outcome=evil)]),
        SampleEvent(stand.NOW_MS + 1000, [
            SampleSeries("requests", {by: evil}, by, 1.0) for by in ("provider", "model", "key")
        ]),
    )  # fmt: skip
    text = "".join(shown(page, told, 200) for page in PAGES) + text_of(head(told, 80, paused=False))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "�]0;x" in text
