"""What workers need in order to authorize requests one by one, as frozen data.

None of it is ever shown: the credentials stand in the fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from typing_extensions import override
else:
    _T = TypeVar("_T")

    def override(method: _T) -> _T:
        """Stand in for `typing.override` (3.12), so that a worker need not load a package."""
        return method


class AwsSigning(msgspec.Struct, frozen=True, tag="aws"):
    """Signature version 4 for Amazon Bedrock.

    Without `access_key_id` the credentials come from botocore's chain; `profile` names one in it.
    `environment` is what the chain may look up, as workers start without.
    """

    region: str
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    profile: str | None = None
    environment: tuple[tuple[str, str], ...] = ()

    @override
    def __repr__(self) -> str:
        return f"AwsSigning({self.region!r}, …)"


class EntraSigning(msgspec.Struct, frozen=True, tag="entra"):
    """Tokens of Microsoft Entra ID for an application that signs in with its own secret.

    `authority` is an origin such as `https://login.microsoftonline.com`. With `token_file` (the
    path of what a workload proves itself with) there is no secret.
    """

    authority: str
    tenant_id: str
    client_id: str
    client_secret: str
    scope: str
    token_file: str = ""

    @override
    def __repr__(self) -> str:
        return f"EntraSigning({self.authority!r}, {self.tenant_id!r}, …)"


class ManagedIdentitySigning(msgspec.Struct, frozen=True, tag="managed_identity"):
    """Tokens of Microsoft Entra ID for the identity that the machine or the app has.

    `endpoint` is the URL that gives them out, without a query. `header` proves to an app's
    endpoint who asks; empty for a machine's. `client_id`: which identity; empty for the only one.
    """

    endpoint: str
    resource: str
    client_id: str = ""
    header: str = ""

    @override
    def __repr__(self) -> str:
        return f"ManagedIdentitySigning({self.endpoint!r}, …)"


class GoogleSigning(msgspec.Struct, frozen=True, tag="google"):
    """Tokens of a Google service account.

    `account` is its JSON key. None: what the machine has (application default credentials).
    `environment` is what google-auth may look up, as workers start without.
    """

    account: str | None = None
    environment: tuple[tuple[str, str], ...] = ()

    @override
    def __repr__(self) -> str:
        return "GoogleSigning(…)"


Signing = AwsSigning | EntraSigning | GoogleSigning | ManagedIdentitySigning


def _is_secret(name: str) -> bool:
    return "SECRET" in name or name.endswith("_TOKEN")


def secrets_of_signing(signing: Signing | None) -> list[str]:
    """Return the secrets in *signing*, so that a log can be kept free of them."""
    if isinstance(signing, AwsSigning):
        chain = (value for name, value in signing.environment if _is_secret(name))
        return [signing.secret_access_key or "", signing.session_token or "", *chain]
    if isinstance(signing, EntraSigning):
        return [signing.client_secret]
    if isinstance(signing, ManagedIdentitySigning):
        return [signing.header]
    if isinstance(signing, GoogleSigning) and signing.account:
        return [str(msgspec.json.decode(signing.account).get("private_key", ""))]
    return []
