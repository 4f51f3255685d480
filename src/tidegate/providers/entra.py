"""Access tokens of Microsoft Entra ID, by client credentials.

    POST /TENANT/oauth2/v2.0/token    grant_type=client_credentials&client_id=…&client_secret=…
    200 {"token_type": "Bearer", "expires_in": 3599, "access_token": "…"}
    401 {"error": "invalid_client", "error_codes": [7000215], …}

Source: "OAuth 2.0 client credentials flow" of the Microsoft identity platform.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from tidegate.config.signing import EntraSigning
from tidegate.providers.fresh import Fetched, Fresh, NoCredential
from tidegate.upstream.answer import UpstreamClient

#: For the whole exchange; a request waits for it.
TOKEN_S: Final = 10.0
_MAX_BYTES: Final = 256 * 1024
_TOKEN: Final = re.compile(r"[!-~]{1,32768}")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float


class _Refusal(msgspec.Struct):
    error: str = ""


class EntraSigner:
    """See `routing.target.Signer`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        signing: EntraSigning,
        client: UpstreamClient,
        *,
        host: bytes,
        base_path: bytes,
    ) -> None:
        """Make a signer without a token.

        Args:
            loop: The worker's loop.
            name: The provider's.
            signing: Who signs in.
            client: Sends to the authority.
            host: Value of the `host` header there.
            base_path: Path of the authority; mostly empty.
        """
        self._loop = loop
        self._client = client
        self._body = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": signing.client_id,
                "client_secret": signing.client_secret,
                "scope": signing.scope,
            }
        ).encode()
        path = base_path + f"/{quote(signing.tenant_id, safe='')}/oauth2/v2.0/token".encode()
        self._head = (
            b"POST %b HTTP/1.1\r\nhost: %b\r\naccept: application/json\r\n"
            b"content-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n"
            % (path, host, len(self._body))
        )
        self._fresh = Fresh(loop, name, self._fetch)

    async def lines(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Return the token as a header line; see `Signer.lines`."""
        return await self._fresh.get()

    def doubt(self) -> None:
        """See `Signer.doubt`."""
        self._fresh.doubt()

    def close(self) -> None:
        """Stop fetching."""
        self._fresh.close()

    async def _fetch(self) -> Fetched[bytes]:
        answer = await self._client.send(
            self._head, self._body, deadline=self._loop.time() + TOKEN_S, first_byte_s=TOKEN_S
        )
        try:
            body = await answer.read(_MAX_BYTES)
            if answer.status != 200:
                raise NoCredential(f"the token endpoint answered {answer.status}{_why(body)}")
            try:
                token = msgspec.json.decode(body, type=_Token)
            except msgspec.DecodeError:
                raise NoCredential("the token endpoint's answer holds no token") from None
        finally:
            answer.cancel()
        if not _TOKEN.fullmatch(token.access_token):
            raise NoCredential("the token endpoint's answer holds no token")
        line = b"authorization: Bearer %b\r\n" % token.access_token.encode("ascii")
        return Fetched(line, token.expires_in)


def _why(body: bytes) -> str:
    """Return the code of a refusal; its description may quote what was sent."""
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        return ""
    return f" ({error})" if _ERROR.fullmatch(error) else ""
