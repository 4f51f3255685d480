"""The endpoints of the control port. Each needs the token or a session unless it says `public`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tidegate.control.admin.auth import COOKIE, SESSION_S, AdminAuth
from tidegate.control.admin.openapi import openapi_json
from tidegate.control.admin.pages import Pages
from tidegate.control.admin.security import Refusal
from tidegate.control.live.answers import Session, SessionRequest
from tidegate.control.live.hub import TooManyViewers, Viewer, sse_event
from tidegate.control.live.measures import GROUPINGS
from tidegate.control.live.ring import TIERS
from tidegate.control.live.service import LiveService

KEEP_ALIVE_S: Final = 15.0
MOST_REQUESTS: Final = 500
_DEFAULT_REQUESTS: Final = 200

Handler = Callable[[Request], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode
_SPANS: Final = tuple(tier.name for tier in TIERS)


def build_app(live: LiveService, auth: AdminAuth, pages: Pages) -> Starlette:
    """Return the application, without the checks of `security.Guard`."""
    api = AdminApi(live, auth)

    def locked(handle: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            await api.authenticate(request)
            return await handle(request)

        return endpoint

    gets: dict[str, Handler] = {
        "/api/instance": api.instance,
        "/api/series": api.series,
        "/api/live": api.live,
        "/api/requests": api.requests,
        "/api/limits": api.limits,
        "/api/alerts": api.alerts,
        "/api/openapi.json": api.openapi,
    }
    return Starlette(
        routes=[
            Route("/api/session", api.session),  # authenticates itself
            Route("/api/session", api.open_session, methods=["POST"]),  # public: it is the door
            Route("/api/session", locked(api.close_session), methods=["DELETE"]),
            *(Route(path, locked(handle)) for path, handle in gets.items()),
            Route("/{path:path}", pages.answer),  # public: the same files for everybody
        ],
        exception_handlers={
            Refusal: _refuse,
            HTTPException: _refuse_http,
            Exception: _fail,
        },
    )


class AdminApi:
    """Endpoints over one live view."""

    def __init__(self, live: LiveService, auth: AdminAuth) -> None:
        self._live = live
        self._auth = auth

    async def authenticate(self, request: Request) -> float | None:
        """Return when the session ends, None for a token; raise `Refusal`."""
        return await self._auth.check(
            request.headers.get("authorization"), request.cookies.get(COOKIE), _address(request)
        )

    async def session(self, request: Request) -> Response:
        """`GET /api/session`."""
        expires_s = await self.authenticate(request)
        return _json(Session(None if expires_s is None else round(expires_s * 1000)))

    async def open_session(self, request: Request) -> Response:
        """`POST /api/session`."""
        try:
            asked = msgspec.json.decode(await request.body(), type=SessionRequest)
        except msgspec.MsgspecError:
            raise Refusal(400, "invalid_body", 'Send {"token": "tga_…"} as JSON.') from None
        await self._auth.check_token(asked.token, _address(request))
        answer = Response(status_code=204)
        answer.set_cookie(
            COOKIE,
            self._auth.sessions.open(),
            max_age=int(SESSION_S),
            path="/",
            httponly=True,
            samesite="strict",
            secure=request.headers.get("origin", "").startswith("https://"),
        )
        return answer

    async def close_session(self, request: Request) -> Response:
        """`DELETE /api/session`."""
        self._auth.sessions.close(request.cookies.get(COOKIE, ""))
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    async def instance(self, _request: Request) -> Response:
        """`GET /api/instance`."""
        return _json(self._live.instance())

    async def series(self, request: Request) -> Response:
        """`GET /api/series`."""
        span = _choice(request, "range", _SPANS)
        by = _choice(request, "by", GROUPINGS)
        return _json(self._live.series(span, by))

    async def requests(self, request: Request) -> Response:
        """`GET /api/requests`."""
        text = request.query_params.get("limit", str(_DEFAULT_REQUESTS))
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= MOST_REQUESTS:
            raise Refusal(400, "invalid_query", f"limit is a number from 1 to {MOST_REQUESTS}.")
        return _json(self._live.requests(int(text)))

    async def limits(self, _request: Request) -> Response:
        """`GET /api/limits`."""
        return _json(await self._live.limits())

    async def alerts(self, _request: Request) -> Response:
        """`GET /api/alerts`."""
        return _json(self._live.alerts())

    async def openapi(self, _request: Request) -> Response:
        """`GET /api/openapi.json`."""
        return Response(openapi_json(), media_type="application/json")

    async def live(self, request: Request) -> Response:
        """`GET /api/live`."""
        live = self._live
        by_token = "authorization" in request.headers
        may_go_on = self._auth.lasting(None if by_token else request.cookies.get(COOKIE))
        try:
            viewer = live.hub.join()
        except TooManyViewers:
            raise Refusal(503, "too_many_viewers", "Too many are watching; try later.") from None
        live.recent.look()
        first = [
            sse_event("instance", _encode(live.instance())),
            sse_event("alerts", _encode(live.alerts())),
        ]
        return StreamingResponse(
            self._events(viewer, b"".join(first), may_go_on),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    async def _events(
        self, viewer: Viewer, first: bytes, may_go_on: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 2000\n\n" + first
            while True:
                event = await viewer.next(KEEP_ALIVE_S)
                if event is None or not may_go_on():
                    return
                yield event or b": still here\n\n"
        finally:
            self._live.hub.leave(viewer)


def _choice(request: Request, name: str, choices: tuple[Any, ...]) -> Any:
    value = request.query_params.get(name, choices[0])
    if value not in choices:
        raise Refusal(400, "invalid_query", f"{name} is one of {', '.join(choices)}.")
    return value


def _json(answer: msgspec.Struct) -> Response:
    return Response(_encode(answer), media_type="application/json")


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {401: {"www-authenticate": "Bearer"}, 408: {"connection": "close"}}.get(error.status)
    return Response(error.body, error.status, headers, media_type="application/json")


async def _refuse_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    headers: Mapping[str, str] | None = error.headers
    refusal = Refusal(error.status_code, code, str(error.detail))
    return Response(refusal.body, error.status_code, headers, media_type="application/json")


async def _fail(_request: Request, _error: Exception) -> Response:
    refusal = Refusal(500, "internal_error", "The control port failed to answer.")
    return Response(refusal.body, 500, media_type="application/json")
