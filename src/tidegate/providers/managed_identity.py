"""Access tokens of the identity that an Azure machine or app has, from the endpoint beside it.

    GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=…    Metadata: true
    GET $IDENTITY_ENDPOINT?api-version=2019-08-01&resource=…    X-IDENTITY-HEADER: …
    200 {"access_token": "…", "expires_in": "3599", "expires_on": "1790000000", …}
    400 {"error": "invalid_request", "error_description": "Identity not found"}

The first is the metadata service of a virtual machine or a node of AKS, the second that of App
Service, Functions and Container Apps. Neither is ever reached through a proxy.

Source: "How to use managed identities" of Microsoft Entra and of App Service, and what the
azure-identity package asks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tidegate.config.signing import ManagedIdentitySigning
from tidegate.providers.entra import exchange
from tidegate.providers.fresh import Fetched, TokenSigner
from tidegate.upstream.answer import UpstreamClient

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override


class ManagedIdentitySigner(TokenSigner):
    """See `routing.target.Signer`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        signing: ManagedIdentitySigning,
        client: UpstreamClient,
        *,
        host: bytes,
        path: bytes,
    ) -> None:
        """Make a signer without a token.

        Args:
            loop: The worker's loop.
            name: The provider's.
            signing: Which identity, and for what.
            client: Sends to the endpoint.
            host: Value of the `host` header there.
            path: Path of the endpoint.
        """
        self._loop = loop
        self._client = client
        is_app = bool(signing.header)
        query = {
            "api-version": "2019-08-01" if is_app else "2018-02-01",
            "resource": signing.resource,
        }
        if signing.client_id:
            query["client_id"] = signing.client_id
        proof = f"x-identity-header: {signing.header}" if is_app else "metadata: true"
        self._head = b"GET %b?%b HTTP/1.1\r\nhost: %b\r\naccept: application/json\r\n%b\r\n\r\n" % (
            path,
            urlencode(query).encode("ascii"),
            host,
            proof.encode("ascii"),
        )
        super().__init__(loop, name)

    @override
    async def _fetch(self) -> Fetched[bytes]:
        return await exchange(self._loop, self._client, self._head, b"", "the identity endpoint")
