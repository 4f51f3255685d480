"""Access tokens of Microsoft Entra ID, by client credentials.

    POST /TENANT/oauth2/v2.0/token    grant_type=client_credentials&client_id=…&client_secret=…
        or, for a workload, …&client_assertion_type=…:jwt-bearer&client_assertion=…
    200 {"token_type": "Bearer", "expires_in": 3599, "access_token": "…"}
    401 {"error": "invalid_client", "error_codes": [7000215], …}

Source: "OAuth 2.0 client credentials flow" of the Microsoft identity platform.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import msgspec

from tidegate.config.signing import EntraSigning
from tidegate.providers.fresh import Fetched, NoCredential, TokenSigner
from tidegate.upstream.answer import UpstreamClient

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

#: For the whole exchange; a request waits for it.
TOKEN_S: Final = 10.0
_MAX_BYTES: Final = 256 * 1024
_TOKEN: Final = re.compile(r"[!-~]{1,32768}")
_ERROR: Final = re.compile(r"[a-z_]{1,64}")
_ASSERTION: Final = re.compile(r"[A-Za-z0-9._-]{1,32768}")
_JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class _Token(msgspec.Struct):
    """`expires_in` is in seconds, `expires_on` in those of Unix; some write them as text."""

    access_token: str
    expires_in: float | str | None = None
    expires_on: float | str | None = None

    def lifetime_s(self) -> float:
        """Return for how long it is good. Raises `ValueError`."""
        if self.expires_in is not None:
            return float(self.expires_in)
        if self.expires_on is None:
            raise ValueError("no end")
        return float(self.expires_on) - time.time()


class _Refusal(msgspec.Struct):
    error: str = ""


class EntraSigner(TokenSigner):
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
        self._signing = signing
        path = base_path + f"/{quote(signing.tenant_id, safe='')}/oauth2/v2.0/token".encode()
        self._head = (
            b"POST %b HTTP/1.1\r\nhost: %b\r\naccept: application/json\r\n"
            b"content-type: application/x-www-form-urlencoded\r\n" % (path, host)
        )
        super().__init__(loop, name)

    @override
    async def _fetch(self) -> Fetched[bytes]:
        signing = self._signing
        form = {
            "grant_type": "client_credentials",
            "client_id": signing.client_id,
            "scope": signing.scope,
        }
        if signing.token_file:
            form["client_assertion_type"] = _JWT_BEARER
            form["client_assertion"] = await asyncio.to_thread(_assertion, signing.token_file)
        else:
            form["client_secret"] = signing.client_secret
        body = urlencode(form).encode()
        head = b"%bcontent-length: %d\r\n\r\n" % (self._head, len(body))
        return await exchange(self._loop, self._client, head, body, "the token endpoint")


async def exchange(
    loop: asyncio.AbstractEventLoop, client: UpstreamClient, head: bytes, body: bytes, who: str
) -> Fetched[bytes]:
    """Ask for a token, and return it as a header line.

    Args:
        loop: The worker's loop.
        client: Sends to where tokens come from.
        head: The whole head of the request.
        body: Its body.
        who: What the one that is asked is called in errors.

    Raises `NoCredential` or `UpstreamFault`.
    """
    answer = await client.send(head, body, deadline=loop.time() + TOKEN_S, first_byte_s=TOKEN_S)
    try:
        data = await answer.read(_MAX_BYTES)
        if answer.status != 200:
            raise NoCredential(f"{who} answered {answer.status}{_why(data)}")
        try:
            token = msgspec.json.decode(data, type=_Token)
            lifetime_s = token.lifetime_s()
        except (msgspec.DecodeError, ValueError):
            raise NoCredential(f"{who}'s answer holds no token") from None
    finally:
        answer.cancel()
    if not _TOKEN.fullmatch(token.access_token):
        raise NoCredential(f"{who}'s answer holds no token")
    return Fetched(b"authorization: Bearer %b\r\n" % token.access_token.encode(), lifetime_s)


def _assertion(path: str) -> str:
    """Return what a workload proves itself with; the file changes within its life."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES).strip().decode("ascii", "replace")
    except OSError as error:
        raise NoCredential(f"cannot read azure.token_file: {error.strerror}") from None
    if not _ASSERTION.fullmatch(text):
        raise NoCredential("azure.token_file holds no token")
    return text


def _why(body: bytes) -> str:
    """Return the code of a refusal; its description may quote what was sent."""
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        return ""
    return f" ({error})" if _ERROR.fullmatch(error) else ""
