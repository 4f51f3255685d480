"""Signers of the providers that want more than a fixed header, kept over reloads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from tidegate.config.signing import (
    AwsSigning,
    EntraSigning,
    GoogleSigning,
    ManagedIdentitySigning,
    Signing,
)
from tidegate.config.snapshot import ProviderSnapshot
from tidegate.upstream.origin import Origin
from tidegate.upstream.pool import UpstreamPool

if TYPE_CHECKING:
    from tidegate.providers.aws_signer import AwsSigner
    from tidegate.providers.entra import EntraSigner
    from tidegate.providers.google_signer import GoogleSigner
    from tidegate.providers.managed_identity import ManagedIdentitySigner

    AnySigner = AwsSigner | EntraSigner | GoogleSigner | ManagedIdentitySigner

#: Connects to the authority of a provider's tokens, in the way that the provider is reached.
Connect = Callable[[ProviderSnapshot, Origin], UpstreamPool]


class Signers:
    """One signer for each provider whose requests are signed; all its targets share it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connect: Connect) -> None:
        self._loop = loop
        self._connect = connect
        self._signers: dict[tuple[object, ...], AnySigner] = {}
        self._pools: dict[tuple[object, ...], UpstreamPool] = {}

    def of(self, provider: ProviderSnapshot) -> AnySigner | None:
        """Return the signer of *provider*; None where a fixed header authorizes its requests.

        Raises `ValueError` where it cannot be made.
        """
        signing = provider.signing
        if signing is None:
            return None
        key = _key(provider)
        signer = self._signers.get(key)
        if signer is None:
            signer = self._signers[key] = self._make(provider, signing, key)
        return signer

    def close_unused(self, providers: tuple[ProviderSnapshot, ...]) -> None:
        """Forget the signers of providers that are no longer configured in the same way."""
        used = {_key(provider) for provider in providers}
        for key in [key for key in self._signers if key not in used]:
            # What it fetches just now, requests of the old configuration still wait for.
            del self._signers[key]
            if key in self._pools:
                self._pools.pop(key).close()

    def close(self) -> None:
        """Stop fetching tokens and close connections; nobody may wait for one any longer."""
        for signer in self._signers.values():
            signer.close()
        for pool in self._pools.values():
            pool.close()

    def _make(
        self, provider: ProviderSnapshot, signing: Signing, key: tuple[object, ...]
    ) -> AnySigner:
        if isinstance(signing, AwsSigning | GoogleSigning):
            # Libraries that find credentials by themselves look into the environment, of which
            # a worker starts without all that could be a secret.
            os.environ.update(signing.environment)
        if isinstance(signing, GoogleSigning):
            from tidegate.providers.google_signer import GoogleSigner

            return GoogleSigner(self._loop, provider.name, signing)
        if isinstance(signing, AwsSigning):
            from tidegate.providers.aws_signer import AwsSigner

            host = Origin.parse(provider.base_url).host_header
            return AwsSigner(self._loop, provider.name, signing, host=host)
        if isinstance(signing, ManagedIdentitySigning):
            from tidegate.providers.managed_identity import ManagedIdentitySigner

            endpoint = Origin.parse(signing.endpoint)
            # What answers there is known by who asks: a proxy would ask for itself.
            direct = msgspec.structs.replace(provider, proxy=None)
            pool = self._pools[key] = self._connect(direct, endpoint)
            return ManagedIdentitySigner(
                self._loop,
                provider.name,
                signing,
                pool,
                host=endpoint.host_header,
                path=endpoint.base_path,
            )
        from tidegate.providers.entra import EntraSigner

        assert isinstance(signing, EntraSigning)
        authority = Origin.parse(signing.authority)
        pool = self._pools[key] = self._connect(provider, authority)
        return EntraSigner(
            self._loop,
            provider.name,
            signing,
            pool,
            host=authority.host_header,
            base_path=authority.base_path,
        )


def _key(provider: ProviderSnapshot) -> tuple[object, ...]:
    return provider.name, provider.base_url, provider.signing, provider.proxy, provider.verify_tls
