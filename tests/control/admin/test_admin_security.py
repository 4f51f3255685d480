"""The checks of the control port, on the application itself: bytes of ASGI in and out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tidegate.config.digest import key_digest
from tidegate.control.admin.auth import COOKIE, MOST_SESSIONS, SESSION_S, AdminAuth, Sessions
from tidegate.control.admin.pages import Pages
from tidegate.control.admin.routes import build_app
from tidegate.control.admin.security import MAX_BODY_BYTES, Guard, HostNames
from tidegate.control.live.hub import MOST_VIEWERS, QUEUED_EVENTS, Hub, TooManyViewers
from tidegate.keys.throttle import GuessThrottle

PEPPER = bytes(range(32))
TOKEN = "tga_" + "a" * 43


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""


class Port:
    """The control port's application without a socket."""

    def __init__(self, bound: str = "127.0.0.1", names: tuple[str, ...] = ()) -> None:
        self.auth = AdminAuth(PEPPER, throttle=GuessThrottle(free=2, period_s=0.05))
        self.auth.use_digest(key_digest(PEPPER, TOKEN))
        live: Any = object()  # no endpoint of these tests gets to it
        self.app = Guard(build_app(live, self.auth, Pages()), HostNames(bound, names))

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        body: bytes = b"",
        address: str = "127.0.0.1",
    ) -> Answer:
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
        if not any(name == "host" for name, _ in pairs):
            pairs.append(("host", "127.0.0.1:8001"))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "path": path.partition("?")[0], "raw_path": path.encode(), "root_path": "",
            "query_string": path.partition("?")[2].encode(), "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in pairs],
            "client": (address, 1234), "server": ("127.0.0.1", 8001),
        }  # fmt: skip
        answer = Answer()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.app(scope, receive, send)  # type: ignore[arg-type]
        return answer

    async def sign_in(self, **headers: str) -> Answer:
        return await self.ask(
            "POST", "/api/session", headers, b'{"token": "' + TOKEN.encode() + b'"}'
        )


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:8001", True),
        ("localhost", True),
        ("LOCALHOST:9000", True),
        ("[::1]:8001", True),
        ("gateway.example", True),
        ("gateway.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:8001@evil.example", False),
        ("127.0.0.1:8001/../", False),
        ("[::1", False),
        ("10.0.0.7", False),
        ("", False),
        ("localhost:80:80", False),
        ("localhost:99999999", False),
    ],
)
async def test_only_our_own_names_are_answered(host: str, accepted: bool) -> None:
    """A page whose name was pointed at this address (DNS rebinding) sends its own name."""
    answer = await Port(names=("gateway.example",)).ask("GET", "/", {"host": host})
    assert (answer.status == 200) is accepted
    assert answer.status in (200, 421)


async def test_a_missing_or_repeated_host_is_refused() -> None:
    """Whichever of two was right."""
    port = Port()
    twice = [("host", "localhost"), ("host", "evil.example")]
    assert (await port.ask("GET", "/", twice)).status == 421
    assert not HostNames("127.0.0.1", ()).accept("")


async def test_where_all_addresses_are_listened_on_any_literal_one_is_ours() -> None:
    """Names still have to be known."""
    port = Port(bound="0.0.0.0")
    assert (await port.ask("GET", "/", {"host": "10.1.2.3:8001"})).status == 200
    assert (await port.ask("GET", "/", {"host": "evil.example"})).status == 421


@pytest.mark.parametrize("path", [
    "/api/instance", "/api/series", "/api/live", "/api/requests", "/api/limits", "/api/alerts",
    "/api/openapi.json", "/api/session",
])  # fmt: skip
async def test_everything_but_the_pages_needs_the_token_or_a_session(path: str) -> None:
    """Nothing, another token, another scheme, a made-up cookie: all 401, in the API's shape."""
    port = Port()
    for headers in (
        {},
        {"authorization": "Bearer " + TOKEN[:-1] + "b"},
        {"authorization": TOKEN},
        {"authorization": "Basic " + TOKEN},
        {"cookie": f"{COOKIE}=made-up"},
        {"authorization": "Bearer \udce4".encode("utf-8", "surrogateescape").decode("latin-1")},
    ):
        answer = await port.ask("GET", path, headers)
        assert answer.status == 401, headers
        assert b'"error"' in answer.body
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_pages_are_for_everybody_and_paths_lead_nowhere_else() -> None:
    """Hashed files may be kept for ever, the page itself not."""
    port = Port()
    page = await port.ask("GET", "/")
    assert page.headers["cache-control"] == "no-store"
    asset = page.body.decode().partition("/assets/")[2].partition('"')[0]
    assert "immutable" in (await port.ask("GET", f"/assets/{asset}")).headers["cache-control"]
    for path in ("/../main.py", "/assets/../../main.py", "/assets/%2e%2e/index.html", "/assets/"):
        assert (await port.ask("GET", path)).status == 404


async def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    """Good ones, errors, and those before routing."""
    port = Port()
    for answer in (
        await port.ask("GET", "/"),
        await port.ask("GET", "/api/instance"),
        await port.ask("GET", "/nothing"),
        await port.ask("PUT", "/api/session"),
        await port.ask("GET", "/", {"host": "evil.example"}),
        await port.sign_in(),
    ):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"]


async def test_a_token_opens_a_session_that_ends() -> None:
    """The cookie is out of reach of scripts and other sites; ending it ends it at once."""
    port = Port()
    opened = await port.sign_in()
    cookie = opened.headers["set-cookie"]
    assert opened.status == 204
    for part in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(SESSION_S)}"):
        assert part in cookie
    assert TOKEN not in cookie
    headers = {"cookie": cookie.partition(";")[0], "origin": "http://127.0.0.1:8001"}
    session = await port.ask("GET", "/api/session", headers)
    assert session.status == 200
    assert b'"expires_ms":' in session.body
    assert (await port.ask("DELETE", "/api/session", headers)).status == 204
    assert (await port.ask("GET", "/api/session", headers)).status == 401


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8001", True),
        ("https://127.0.0.1:8001", True),
        ("http://127.0.0.1:8002", False),
        ("http://localhost:8001", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
async def test_changes_are_taken_from_our_own_pages_only(origin: str, allowed: bool) -> None:
    """Even with the right token: a page elsewhere may not log its visitor in."""
    answer = await Port().sign_in(origin=origin)
    assert answer.status == (204 if allowed else 403)
    assert ("set-cookie" in answer.headers) is allowed


async def test_a_browser_without_an_origin_changes_nothing() -> None:
    """A cookie that was sent along, or a hint that it is another site's request."""
    port = Port()
    cookie = (await port.sign_in()).headers["set-cookie"].partition(";")[0]
    assert (await port.ask("DELETE", "/api/session", {"cookie": cookie})).status == 403
    assert (await port.sign_in(**{"sec-fetch-site": "cross-site"})).status == 403
    assert (await port.ask("GET", "/api/session", {"cookie": cookie})).status == 200


async def test_guessing_is_slow_and_the_right_token_never_is() -> None:
    """By address; whoever has the token waits for nobody."""
    port = Port()
    began = time.monotonic()
    wrong = [port.ask("GET", "/api/session", {"authorization": "Bearer no"}) for _ in range(8)]
    answers = asyncio.gather(*wrong)
    await asyncio.sleep(0)
    right = await port.ask("GET", "/api/session", {"authorization": f"Bearer {TOKEN}"})
    assert right.status == 200
    assert time.monotonic() - began < 0.2
    assert {answer.status for answer in await answers} == {401}
    assert time.monotonic() - began >= 0.25


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"token": 1}', b'{"token": "x", "more": 1}', b"\xff", b"{" * 4000]
)
async def test_a_body_that_is_not_the_token_is_a_plain_400(body: bytes) -> None:
    """Without a trace of it in the answer."""
    answer = await Port().ask("POST", "/api/session", {}, body)
    assert answer.status == 400
    assert b"invalid_body" in answer.body


async def test_large_bodies_are_refused_announced_or_not() -> None:
    """Before they are read, or as soon as they are too long."""
    port = Port()
    announced = {"content-length": str(MAX_BODY_BYTES + 1)}
    assert (await port.ask("POST", "/api/session", announced)).status == 413
    assert (await port.ask("GET", "/", {"content-length": "1_0"})).status == 413
    answer = await port.ask("POST", "/api/session", {}, b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status == 413


async def test_a_new_token_ends_the_old_one_and_every_session_and_stream() -> None:
    """At once; no token at all opens nothing."""
    port = Port()
    cookie = (await port.sign_in()).headers["set-cookie"].partition(";")[0]
    by_token = port.auth.lasting(None)
    by_session = port.auth.lasting(cookie.partition("=")[2])
    assert by_token()
    assert by_session()
    port.auth.use_digest(key_digest(PEPPER, "tga_new"))
    assert not by_token()
    assert not by_session()
    assert (await port.ask("GET", "/api/session", {"cookie": cookie})).status == 401
    assert not port.auth.is_token(TOKEN)
    assert port.auth.is_token("tga_new")
    port.auth.use_digest(None)
    assert not port.auth.is_token("tga_new")
    assert not port.auth.is_token("")


def test_sessions_are_bounded_in_number_and_time() -> None:
    """The oldest one makes room; twelve hours are the end."""
    now_s = [1_000.0]
    sessions = Sessions(lambda: now_s[0])
    ids = [sessions.open() for _ in range(MOST_SESSIONS + 1)]
    assert len(set(ids)) == len(ids)
    assert sessions.expires_s(ids[0]) is None
    assert sessions.expires_s(ids[1]) == 1_000.0 + SESSION_S
    assert sessions.expires_s("x" * 100_000) is None
    now_s[0] += SESSION_S
    assert sessions.expires_s(ids[1]) is None


async def test_a_viewer_that_does_not_read_is_let_go_and_delays_nobody() -> None:
    """The others get every event; a slow one's stream ends."""
    hub = Hub()
    slow, quick = hub.join(), hub.join()
    for number in range(QUEUED_EVENTS + 5):
        hub.send("sample", str(number).encode())
        event = await quick.next(1.0)
        assert event == b"event: sample\ndata: %d\n\n" % number
    assert len(hub) == 1
    seen = 0
    while await slow.next(0.1) is not None:
        seen += 1
    assert seen < QUEUED_EVENTS
    hub.leave(slow)
    assert await quick.next(0.0) == b""


async def test_twenty_may_watch() -> None:
    """The next one is told to come later; who leaves makes room."""
    hub = Hub()
    viewers = [hub.join() for _ in range(MOST_VIEWERS)]
    with pytest.raises(TooManyViewers):
        hub.join()
    hub.leave(viewers[0])
    hub.join()
    hub.close()
    assert await viewers[1].next(1.0) is None
