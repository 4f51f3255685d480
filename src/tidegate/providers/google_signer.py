"""Access tokens of Google service accounts, by google-auth in a thread."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tidegate.config.signing import GoogleSigning
from tidegate.providers.fresh import Fetched, NoCredential, TokenSigner

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
#: For one exchange with the token endpoint, and for all that google-auth does to get a token.
EXCHANGE_S: Final = 10.0
TOKEN_WAIT_S: Final = 30.0
_MAX_BYTES: Final = 256 * 1024


class GoogleSigner(TokenSigner):
    """See `routing.target.Signer`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, signing: GoogleSigning) -> None:
        """Make a signer without a token, for the provider *name*."""
        self._signing = signing
        self._credentials: Any = None
        super().__init__(loop, name)

    @override
    async def _fetch(self) -> Fetched[bytes]:
        try:
            async with asyncio.timeout(TOKEN_WAIT_S):
                return await asyncio.to_thread(self._renew)
        except TimeoutError:
            raise NoCredential("Google's token endpoint took too long") from None

    def _renew(self) -> Fetched[bytes]:
        """Get a new token; blocks."""
        if self._credentials is None:
            self._credentials = _load(self._signing.account)
        credentials = self._credentials
        credentials.refresh(_send)
        token, expiry = credentials.token, credentials.expiry
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NoCredential("Google's token endpoint gave no token")
        life_s = (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() if expiry else 60
        return Fetched(b"authorization: Bearer %b\r\n" % token.encode("ascii"), life_s)


def _load(account: str | None) -> Any:
    """Return credentials of a service account, or those that the machine has."""
    import google.auth
    from google.oauth2.service_account import Credentials

    if account is None:
        find: Any = google.auth.default
        return find(scopes=[SCOPE], request=_send)[0]
    kind: Any = Credentials
    return kind.from_service_account_info(msgspec.json.decode(account), scopes=[SCOPE])


class _Answer:
    """What google-auth wants of an answer."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data


def _send(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: object,
) -> _Answer:
    """Exchange one request, in the way that google-auth asks its transports to."""
    from google.auth import exceptions

    failed: Any = exceptions.TransportError
    if not url.startswith(("https://", "http://")):
        raise failed("not an address of the web")
    request = urllib.request.Request(url, body, dict(headers or {}), method=method)  # noqa: S310
    wait_s = EXCHANGE_S if timeout is None else min(timeout, EXCHANGE_S)
    try:
        with urllib.request.urlopen(request, timeout=wait_s) as answer:  # noqa: S310
            return _Answer(answer.status, dict(answer.headers), answer.read(_MAX_BYTES))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return _Answer(refusal.code, dict(refusal.headers), refusal.read(_MAX_BYTES))
    except OSError as error:
        raise failed(type(error).__name__) from None
