"""Settings of providers that are reached through a cloud account."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator

from tidegate.config.field_types import BaseUrl, PathSetting, check_base_url
from tidegate.config.secret import Secret
from tidegate.config.section import Section
from tidegate.config.signing import (
    AwsSigning,
    EntraSigning,
    GoogleSigning,
    ManagedIdentitySigning,
)

_MAX_ACCOUNT_BYTES: Final = 64 * 1024
_ACCOUNT_FIELDS: Final = ("client_email", "private_key", "token_uri")


def _word(value: object) -> str:
    """Return *value* when it can stand in a host name or a path as it is."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", value):
        raise ValueError("must be letters, digits, and . _ : - (at most 100 characters)")
    return value


Word = Annotated[str, BeforeValidator(_word)]
Pairs = tuple[tuple[str, str], ...]

#: Where a machine of Azure learns about itself; the variable moves it.
_METADATA: Final = "http://169.254.169.254"
_METADATA_PATH: Final = "/metadata/identity/oauth2/token"
_IDENTITY: Final = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_POD_IDENTITY_AUTHORITY_HOST")


class AzureSettings(Section):
    """Azure OpenAI: the dated API, and sign-in with Microsoft Entra ID in place of a key."""

    _environment: Pairs = PrivateAttr(default=())

    api_version: Word | None = Field(
        default=None,
        description="Use the dated API with deployments, of this version. Default: the v1 API.",
    )
    identity: Literal["managed", "workload"] | None = Field(
        default=None,
        description="Sign in as what this runs on: `managed` for a machine's or an app's identity, "
        "`workload` for a pod's.",
    )
    tenant_id: Word | None = Field(
        default=None,
        description="Entra ID tenant; with `client_id` and `client_secret`. For `workload`: "
        "default `AZURE_TENANT_ID`.",
    )
    client_id: Word | None = Field(
        default=None,
        description="The application that signs in. For `managed`: which identity, where there "
        "are several. For `workload`: default `AZURE_CLIENT_ID`.",
    )
    client_secret: Secret | None = Field(
        default=None, description="Its secret: `env:NAME` or `file:PATH`."
    )
    token_file: PathSetting | None = Field(
        default=None,
        description="What a `workload` proves itself with. Default: `AZURE_FEDERATED_TOKEN_FILE`.",
    )
    authority: BaseUrl = Field(
        default="https://login.microsoftonline.com",
        description="Where tokens come from; other clouds have their own.",
    )
    scope: str = Field(
        default="https://cognitiveservices.azure.com/.default",
        pattern=r"^[!-~]{1,200}$",
        description="What the tokens are for.",
    )

    def with_environment(self, env: Mapping[str, str], base_dir: Path) -> AzureSettings:
        """Return the same with what the platform tells of the identity that it gave."""
        update: dict[str, object] = {}
        if self.identity == "workload":
            for name, variable in (
                ("tenant_id", "AZURE_TENANT_ID"),
                ("client_id", "AZURE_CLIENT_ID"),
            ):
                if getattr(self, name) is None and env.get(variable, "").strip():
                    update[name] = env[variable].strip()
            file = self.token_file or env.get("AZURE_FEDERATED_TOKEN_FILE") or None
            if file is not None:
                update["token_file"] = (base_dir / Path(file).expanduser()).absolute()
        copy = self.model_copy(update=update)
        if self.identity == "managed":
            copy._environment = tuple(
                (name, env[name].strip()) for name in _IDENTITY if env.get(name, "").strip()
            )
        return copy

    def signing(self) -> EntraSigning | ManagedIdentitySigning | None:
        """Return how requests are authorized; None where a key does that.

        Raises `ValueError` where the platform's variables are none that this knows.
        """
        if self.identity == "managed":
            return self._managed()
        if self.tenant_id is None or self.client_id is None:
            return None
        place = (self.authority, self.tenant_id, self.client_id)
        if self.identity == "workload" and self.token_file is not None:
            return EntraSigning(*place, "", self.scope, str(self.token_file))
        if self.client_secret is None:
            return None
        return EntraSigning(*place, self.client_secret.reveal(), self.scope)

    def _managed(self) -> ManagedIdentitySigning:
        told = dict(self._environment)
        asked = (self.scope.removesuffix("/.default"), self.client_id or "")
        if "IDENTITY_ENDPOINT" not in told:
            origin = told.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA)
            return ManagedIdentitySigning(check_base_url(origin) + _METADATA_PATH, *asked)
        header = told.get("IDENTITY_HEADER", "")
        if not re.fullmatch(r"[!-~]{1,4096}", header):
            raise ValueError("IDENTITY_ENDPOINT is set without a usable IDENTITY_HEADER")
        return ManagedIdentitySigning(check_base_url(told["IDENTITY_ENDPOINT"]), *asked, header)


def _environment_for(env: Mapping[str, str], *prefixes: str) -> Pairs:
    """Return what a library that finds credentials by itself may look up."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return tuple(
        (name, value)
        for name, value in sorted(env.items())
        if name.startswith(prefixes) or name.upper() in proxies
    )


class AwsSettings(Section):
    """Amazon Bedrock: the region, and credentials that sign each request."""

    _environment: Pairs = PrivateAttr(default=())

    region: Word | None = Field(
        default=None, description="Such as `eu-central-1`. Default: `AWS_REGION`."
    )
    access_key_id: Word | None = Field(default=None, description="With `secret_access_key`.")
    secret_access_key: Secret | None = Field(
        default=None, description="`env:NAME` or `file:PATH`. Never sent: requests are signed."
    )
    session_token: Secret | None = Field(
        default=None, description="Of temporary credentials: `env:NAME` or `file:PATH`."
    )
    profile: Word | None = Field(
        default=None,
        description="Profile of the AWS configuration to take credentials from; needs "
        "`tidegate[bedrock]`.",
    )

    def with_environment(self, env: Mapping[str, str]) -> AwsSettings:
        """Return the same with what the credential chain may look up, if it is needed."""
        copy = self.model_copy()
        if self.access_key_id is None:
            copy._environment = _environment_for(env, "AWS_", "BOTO_")
        return copy

    def signing(self, region: str) -> AwsSigning:
        """Return how requests are signed."""
        secret, token = self.secret_access_key, self.session_token
        return AwsSigning(
            region=region,
            access_key_id=self.access_key_id,
            secret_access_key=None if secret is None else secret.reveal(),
            session_token=None if token is None else token.reveal(),
            profile=self.profile,
            environment=self._environment,
        )


class GoogleSettings(Section):
    """Google Vertex AI: where, and the service account that asks."""

    _environment: Pairs = PrivateAttr(default=())

    project: Word | None = Field(
        default=None, description="Default: `GOOGLE_CLOUD_PROJECT`, or the service account's."
    )
    location: Word | None = Field(
        default=None,
        description="Such as `europe-west4`, or `global`. Default: `GOOGLE_CLOUD_LOCATION`.",
    )
    credentials: PathSetting | None = Field(
        default=None,
        description="JSON key file of a service account, relative to this file. Default: "
        "`GOOGLE_APPLICATION_CREDENTIALS`, or what the machine has.",
    )

    def signing(self, base_dir: Path) -> GoogleSigning:
        """Return how requests are authorized. Raises `ValueError` for a file that is no key."""
        account = self.account(base_dir)
        return GoogleSigning(None if account is None else json.dumps(account), self._environment)

    def with_environment(self, env: Mapping[str, str]) -> GoogleSettings:
        """Return the same with what google-auth may look up."""
        copy = self.model_copy()
        prefixes = () if self.credentials is not None else ("GOOGLE_", "CLOUDSDK_", "GCE_")
        copy._environment = _environment_for(env, *prefixes)
        return copy

    def account(self, base_dir: Path) -> dict[str, object] | None:
        """Return the service account's key. Raises `ValueError` for a file that is none."""
        if self.credentials is None:
            return None
        path = base_dir / self.credentials.expanduser()
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_ACCOUNT_BYTES + 1)
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
        try:
            account = json.loads(data) if len(data) <= _MAX_ACCOUNT_BYTES else None
        except ValueError:
            account = None
        if not isinstance(account, dict) or not all(
            isinstance(account.get(name), str) and account[name] for name in _ACCOUNT_FIELDS
        ):
            raise ValueError(f"{path} is no JSON key of a service account")
        return account

    @field_validator("credentials")
    @classmethod
    def _check_regular(cls, path: Path | None) -> Path | None:
        if path is not None and path.is_fifo():
            raise ValueError("must be a regular file")
        return path
