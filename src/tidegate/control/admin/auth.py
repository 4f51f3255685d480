"""Who may use the admin API: the admin token, and the sessions that it opens."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from tidegate.config.digest import key_digest
from tidegate.control.admin.security import Refusal
from tidegate.keys.throttle import GuessThrottle

COOKIE: Final = "tidegate_session"
SESSION_S: Final = 12 * 3600.0
MOST_SESSIONS: Final = 100
MOST_HELD: Final = 20
"""Answers to wrong tokens held back at once; each has one of the port's hundred connections."""
_MOST_TOKEN_CHARACTERS: Final = 200


class Sessions:
    """Sessions of this process, by a digest of their id; they end with it.

    Args:
        clock_s: Unix time.
    """

    def __init__(self, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._expires_s: OrderedDict[bytes, float] = OrderedDict()

    def open(self) -> str:
        """Return the id of a new session; beyond the cap the oldest one ends."""
        session = secrets.token_urlsafe(32)
        self._expires_s[_digest(session)] = self._clock_s() + SESSION_S
        while len(self._expires_s) > MOST_SESSIONS:
            self._expires_s.popitem(last=False)
        return session

    def expires_s(self, session: str) -> float | None:
        """Return when *session* ends (Unix time); None when there is none of this id."""
        if len(session) > _MOST_TOKEN_CHARACTERS:
            return None
        # Found by the digest: how long that takes tells nothing about an id.
        digest = _digest(session)
        expires_s = self._expires_s.get(digest)
        if expires_s is not None and expires_s <= self._clock_s():
            del self._expires_s[digest]
            return None
        return expires_s

    def close(self, session: str) -> None:
        """End *session*."""
        self._expires_s.pop(_digest(session), None)

    def close_all(self) -> None:
        """End every session."""
        self._expires_s.clear()


class AdminAuth:
    """Checks tokens and sessions.

    Args:
        pepper: What the token's digest was made with.
        throttle: Slows down whoever guesses.
    """

    def __init__(
        self,
        pepper: bytes,
        *,
        throttle: GuessThrottle | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._pepper = pepper
        self._digest: bytes | None = None
        self._tokens = 0
        self._throttle = GuessThrottle(free=5, max_held=MOST_HELD) if throttle is None else throttle
        self.sessions = Sessions() if sessions is None else sessions

    def use_digest(self, digest: bytes | None) -> None:
        """Take the digest of the token in force; another one ends all sessions."""
        if digest != self._digest:
            self._tokens += 1
            self.sessions.close_all()
        self._digest = digest

    def lasting(self, session: str | None) -> Callable[[], bool]:
        """Return what tells whether a stream that was opened now may still go on.

        Args:
            session: Of the request, or None for one that sent the token.
        """
        tokens = self._tokens
        if session is None:
            return lambda: self._tokens == tokens
        return lambda: self.sessions.expires_s(session) is not None

    def is_token(self, token: str) -> bool:
        """Whether *token* is the admin token."""
        if self._digest is None or not 1 <= len(token) <= _MOST_TOKEN_CHARACTERS:
            return False
        given = key_digest(self._pepper, token.encode("utf-8", "surrogateescape"))
        return hmac.compare_digest(given, self._digest)

    async def check_token(self, token: str, address: str) -> None:
        """Return if *token* is the admin token, else raise `Refusal`, late for who guesses."""
        if self.is_token(token):
            return
        wait_s = self._throttle.reserve(address)
        if wait_s > 0.0:
            try:
                await asyncio.sleep(wait_s)
            finally:
                self._throttle.release()
        raise Refusal(401, "wrong_token", "This is not the admin token.")

    async def check(
        self, authorization: str | None, session: str | None, address: str
    ) -> float | None:
        """Return when the session ends, None for a token; raise `Refusal` without either."""
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                await self.check_token(token.strip(), address)
                return None
        elif session is not None:
            expires_s = self.sessions.expires_s(session)
            if expires_s is not None:
                return expires_s
        raise Refusal(
            401,
            "unauthenticated",
            "Send the admin token as `Authorization: Bearer`, or open a session. "
            "`tidegate admin-token rotate` makes a new token.",
        )


def _digest(session: str) -> bytes:
    return sha256(session.encode("utf-8", "surrogateescape")).digest()
