"""How `tidegate top` reads a control port, a small one and a real one."""

from __future__ import annotations

import queue
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import top_stand as stand
from tests.running import RunningGateway

from tidegate.cli.top.board import Board, History, News, Recent, Status
from tidegate.cli.top.feed import Feed, Place
from tidegate.control.live.answers import (
    AlertsAnswer,
    InstanceAnswer,
    LimitsAnswer,
    RequestsAnswer,
    SampleEvent,
)
from tidegate.control.live.measures import GROUPINGS


def answers() -> dict[str, Any]:
    """Return what a control port answers to the questions of a start."""
    series = stand.history().answers
    found: dict[str, Any] = {
        "/api/instance": stand.instance(),
        "/api/limits": stand.LIMITS,
        "/api/alerts": stand.ALERTS,
        "/api/requests?limit=200": RequestsAnswer([stand.request(1)]),
    }
    for by, answer in zip(GROUPINGS, series, strict=True):
        found[f"/api/series?range=15m&by={by}"] = answer
    return {path: msgspec.to_builtins(answer) for path, answer in found.items()}


def event(kind: str, data: object) -> bytes:
    """Return an event as it is sent."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))


@contextmanager
def fed(url: str, token: str = stand.TOKEN) -> Iterator[Feed]:
    """Run a feed."""
    feed = Feed(Place.parse(url), token)
    feed.start()
    try:
        yield feed
    finally:
        started = time.monotonic()
        feed.stop()
        assert time.monotonic() - started < 2.0, "it did not stop at once"


def until(feed: Feed, kind: type[News], *, within_s: float = 10.0, **wanted: object) -> Any:
    """Return the next news of *kind* whose attributes are as *wanted*."""
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        news = feed.news.get(timeout=left_s)
        if isinstance(news, kind) and all(getattr(news, name) == to for name, to in wanted.items()):
            return news
    raise AssertionError(f"no {kind.__name__} with {wanted}")


def test_it_asks_for_everything_and_follows_the_events() -> None:
    """With the token in the header of each request; unknown events are passed over."""
    events = [
        b"retry: 2000\n\n: comment\n\n",
        event("news_of_a_later_version", {"x": 1}),
        event("sample", stand.sample(1, requests=5.0)),
        event("requests", RequestsAnswer([stand.request(7)])),
        event("sample", stand.sample(2, requests=6.0)).replace(b"\n", b"\r\n"),
    ]
    with stand.ControlPort(answers(), events, stays_open=True) as port, fed(port.url) as feed:
        assert until(feed, InstanceAnswer).name == "gate-1"
        assert len(until(feed, History).answers) == len(GROUPINGS)
        assert until(feed, Recent).is_whole
        assert until(feed, Status).is_live
        assert until(feed, SampleEvent).series[0].value == 5.0
        assert until(feed, Recent).rows[0].request_id == "req_7"
        assert until(feed, SampleEvent).series[0].value == 6.0
        # Limits have no event: they are asked for after each second sample.
        assert until(feed, LimitsAnswer) == stand.LIMITS
        assert {told for _, told in port.seen} == {f"Bearer {stand.TOKEN}"}


def test_it_comes_back_after_the_end_of_a_stream_and_reads_everything_anew() -> None:
    """A control process that is replaced costs a second."""
    events = [event("sample", stand.sample(1, requests=5.0))]
    with stand.ControlPort(answers(), events, stays_open=False) as port, fed(port.url) as feed:
        until(feed, Status, is_live=True)
        until(feed, Status, text="the connection ended; connecting again")
        until(feed, History)
        until(feed, Status, is_live=True)


def test_a_refused_token_ends_it() -> None:
    """Each further try would only be slowed down."""
    body = b'{"error": {"code": "unauthenticated", "message": "The admin token is wrong."}}'
    with stand.ControlPort({}, [], stays_open=False) as port:
        port.refusal = (401, body)
        with fed(port.url) as feed:
            status = until(feed, Status)
            assert status == Status("401: The admin token is wrong.", is_final=True)
            assert len(port.seen) == 1


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        ((421, b'{"error": {"code": "x", "message": "Not this host."}}'), "421: Not this host."),
        ((200, b"<html>"), "an answer that this version does not understand: "),
        ((200, b"{}"), "an answer that this version does not understand: "),
        ((502, b"<html>"), "502: this is not a control port of Tidegate"),
    ],
)
def test_any_other_refusal_is_told_and_tried_again(refusal: tuple[int, bytes], text: str) -> None:
    """And it goes on once the port answers as it should."""
    with stand.ControlPort(answers(), [], stays_open=True) as port:
        port.refusal = refusal
        with fed(port.url) as feed:
            status = until(feed, Status)
            assert status.text.startswith(text)
            assert not status.is_final
            port.refusal = None
            until(feed, Status, is_live=True)


def test_a_port_where_nobody_listens_is_named() -> None:
    """With the reason in words."""
    with fed("http://127.0.0.1:9") as feed:
        assert until(feed, Status).text == "no answer from 127.0.0.1 port 9: nobody listens there"


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8001", "ftp://x", "http://", "http://u:p@x", "http://x?q", "http://x:99999",
     "http://x#f"],
)  # fmt: skip
def test_what_is_no_address_of_a_control_port_is_refused(url: str) -> None:
    """A token in the address would stand in the list of processes."""
    with pytest.raises(ValueError, match=r"must|has a port"):
        Place.parse(url)


def test_an_address_may_have_tls_and_a_path() -> None:
    """As behind a proxy."""
    assert Place.parse("https://gate.example.com/live/") == Place(
        "gate.example.com", 443, True, "/live"
    )
    assert Place.parse("http://[::1]:8001") == Place("::1", 8001, False, "")


@pytest.mark.process
def test_a_real_gateway_is_understood_and_a_worker_seen(tmp_path: Path) -> None:
    """Every answer and event of the real control port fits, and a request shows."""
    with RunningGateway(tmp_path, workers=1) as gateway:
        output = "\n".join(gateway.output)
        token = re.search(r"tga_\w+", output)
        url = re.search(r"live view on (\S+) was made", output)
        assert token is not None
        assert url is not None
        key = gateway.create_key("watched")
        with fed(url[1], token[0]) as feed:
            board = Board()

            def told(what: str, true: Callable[[], object]) -> None:
                deadline = time.monotonic() + 25
                while not true():
                    assert time.monotonic() < deadline, f"{what}; {board.status}"
                    with suppress(queue.Empty):
                        board.take(feed.news.get(timeout=0.5))

            told("live", lambda: board.status.is_live)
            assert board.instance is not None
            assert board.instance.workers[0].state == "ready"
            assert isinstance(board.alerts, AlertsAnswer)
            told("a reading", lambda: board.now("total", "requests") is not None)
            # Workers look once a second whether somebody watches, and keep nothing before that.
            told("the request", lambda: board.requests or _chat(gateway, key))
            assert board.requests[0].key == "watched"
            assert [attempt.provider for attempt in board.requests[0].attempts] == ["demo"]
            told("its rate", lambda: any(board.values("total", "allowed")))
            told("its provider", lambda: board.labels("provider") == ["demo"])


def _chat(gateway: RunningGateway, key: str) -> None:
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions",
        b'{"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}',
        {"Authorization": f"Bearer {key}"},
    )
    urllib.request.urlopen(request, timeout=10).close()
