"""Signs requests to Amazon Bedrock with fixed keys, or with those of botocore's chain."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from tidegate.config.signing import AwsSigning
from tidegate.providers.fresh import Fetched, Fresh, NoCredential
from tidegate.providers.sigv4 import Credentials, sign

SERVICE: Final = "bedrock"
#: How long what the chain gave is used. It renews its own ahead of their end, by more than this.
CHAIN_S: Final = 300.0
#: The chain may ask a metadata service or a process of the user's; it is not waited for longer.
CHAIN_WAIT_S: Final = 15.0
#: From here on a body is hashed in a thread: a megabyte takes a millisecond and more.
LARGE_BODY_BYTES: Final = 1024 * 1024


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AwsSigner:
    """See `routing.target.Signer`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        signing: AwsSigning,
        *,
        host: bytes,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Make a signer.

        Args:
            loop: The worker's loop.
            name: The provider's.
            signing: Region and keys.
            host: Value of the `host` header, which is signed.
            now: The clock.
        """
        self._region = signing.region
        self._host = host.decode("ascii")
        self._now = now
        self._fixed: Credentials | None = None
        self._chain: Fresh[Credentials] | None = None
        if signing.access_key_id is not None and signing.secret_access_key is not None:
            self._fixed = Credentials(
                signing.access_key_id, signing.secret_access_key, signing.session_token
            )
        else:
            self._chain = Fresh(loop, name, partial(_from_chain, _Chain(signing.profile)))

    async def lines(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Return the signature's header lines; see `Signer.lines`."""
        credentials = self._fixed
        if credentials is None:
            assert self._chain is not None
            credentials = await self._chain.get()
        if len(body) < LARGE_BODY_BYTES:
            digest = hashlib.sha256(body)
        else:  # it would hold up all other requests
            digest = await asyncio.to_thread(hashlib.sha256, body)
        headers = sign(
            credentials,
            method=method.decode("ascii"),
            target=path.decode("ascii"),
            headers={"host": self._host, "content-type": "application/json"},
            body_sha256=digest.hexdigest(),
            moment=self._now(),
            region=self._region,
            service=SERVICE,
        )
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")

    def doubt(self) -> None:
        """See `Signer.doubt`."""
        if self._chain is not None:
            self._chain.doubt()

    def close(self) -> None:
        """Stop fetching."""
        if self._chain is not None:
            self._chain.close()


class _Chain:
    """Botocore's credentials of one profile, made at the first use."""

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._credentials: Any = None

    def read(self) -> Credentials:
        """Return those of now; blocks on files and services. Raises `NoCredential`."""
        if self._credentials is None:
            from botocore.session import Session  # an extra, and 180 ms

            self._credentials = Session(profile=self._profile).get_credentials()
            if self._credentials is None:
                raise NoCredential("the AWS credential chain found nothing")
        frozen = self._credentials.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


async def _from_chain(chain: _Chain) -> Fetched[Credentials]:
    try:
        async with asyncio.timeout(CHAIN_WAIT_S):
            return Fetched(await asyncio.to_thread(chain.read), CHAIN_S)
    except TimeoutError:
        raise NoCredential("the AWS credential chain took too long") from None
