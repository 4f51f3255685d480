"""Rules of providers that are reached through a cloud account, and what is made of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidegate.config.cloud_settings import AwsSettings, AzureSettings, GoogleSettings
from tidegate.config.provider_kind import Kinds
from tidegate.config.provider_settings import ProviderSettings
from tidegate.config.secret import Secret, Sources
from tidegate.config.setting_path import SettingPath
from tidegate.config.settings import Settings
from tidegate.config.signing import EntraSigning, GoogleSigning, ManagedIdentitySigning, Signing

Problem = tuple[SettingPath, str]

SECTIONS = ("azure", "aws", "google")


def options_of(provider: ProviderSettings) -> dict[str, str]:
    """Return the settings of a provider's cloud that say where it is, by name."""
    found: dict[str, str | None] = {}
    if provider.azure is not None:
        found["api_version"] = provider.azure.api_version
    if provider.aws is not None:
        found["region"] = provider.aws.region
    if provider.google is not None:
        found["location"] = provider.google.location
        found["project"] = provider.google.project or _project_of(provider.google)
    return {name: value for name, value in found.items() if value}


def signing_of(provider: ProviderSettings) -> Signing | None:
    """Return how each request to *provider* is authorized; None where a fixed header does that.

    *provider* must have come through `with_surroundings`.
    """
    if provider.azure is not None:
        return provider.azure.signing()
    if provider.aws is not None and provider.api_key is None:
        return provider.aws.signing(provider.aws.region or "")
    if provider.google is not None:
        return provider.google.signing(Path())
    return None


def with_surroundings(settings: Settings, sources: Sources) -> Settings:
    """Return *settings* with absolute paths of key files, and what libraries may look up."""
    providers = {}
    for name, provider in settings.providers.items():
        google, aws, azure = provider.google, provider.aws, provider.azure
        if google is not None:
            if google.credentials is not None:
                path = (sources.base_dir / google.credentials.expanduser()).absolute()
                google = google.model_copy(update={"credentials": path})
            google = google.with_environment(sources.env)
        if aws is not None:
            aws = aws.with_environment(sources.env)
        if azure is not None:
            azure = azure.with_environment(sources.env, sources.base_dir)
        clouds = {"google": google, "aws": aws, "azure": azure}
        providers[name] = provider.model_copy(update=clouds)
    return settings.model_copy(update={"providers": providers})


def cloud_problems(settings: Settings, kinds: Kinds) -> list[Problem]:
    """Return every broken rule of settings that belong to one kind of provider.

    *settings* must have come through `with_surroundings`.
    """
    return [
        (("providers", name, *path), reason)
        for name, provider in settings.providers.items()
        for path, reason in _problems(provider, kinds)
    ]


def cloud_risks(place: str, provider: ProviderSettings, inline: Sequence[Secret]) -> list[str]:
    """Return what whoever operates the gateway should know of one provider's secrets.

    Args:
        place: The provider's path.
        provider: Its settings.
        inline: Secrets that are written in the file.
    """
    found = []
    for section in SECTIONS:
        settings = getattr(provider, section)
        for name in type(settings).model_fields if settings is not None else ():
            value = getattr(settings, name)
            if isinstance(value, Secret) and any(value is secret for secret in inline):
                path = f"{place}.{section}.{name}"
                found.append(f"{path} is written in the file; prefer env:NAME or file:PATH")
    return found


def sends_credential(provider: ProviderSettings) -> bool:
    """Whether whoever reads a request to it could make others; a signature is for that one."""
    return provider.api_key is not None or isinstance(
        signing_of(provider), EntraSigning | GoogleSigning | ManagedIdentitySigning
    )


def _problems(provider: ProviderSettings, kinds: Kinds) -> Iterator[Problem]:
    kind = kinds.get(provider.kind)
    if kind is None:
        return  # told already, by its own rule
    for section in SECTIONS:
        if section != kind.section and getattr(provider, section) is not None:
            yield (section,), f"is not for kind {kind.name}"
            return
    checks = {"azure": _azure_problems, "aws": _aws_problems, "google": _google_problems}
    found = list(checks[kind.section](provider)) if kind.section in checks else []
    yield from found
    if not found:
        try:
            kind.place(provider.base_url, options_of(provider), provider.dialects)
        except ValueError as error:
            setting, _, reason = str(error).partition(": ")
            yield tuple(setting.split(".")), reason


def _azure_problems(provider: ProviderSettings) -> Iterator[Problem]:
    azure = provider.azure
    if azure is None:
        return
    if azure.identity is not None:
        yield from _identity_problems(provider, azure)
        return
    if azure.token_file is not None:
        yield ("azure", "token_file"), "is for identity: workload"
    names = ("tenant_id", "client_id", "client_secret")
    given = [name for name in names if getattr(azure, name) is not None]
    for name in names:
        if given and name not in given:
            yield ("azure", name), f"is needed with {given[0]}"
    if given and provider.api_key is not None:
        yield ("api_key",), "is not needed beside azure.client_secret; give one of them"


def _identity_problems(provider: ProviderSettings, azure: AzureSettings) -> Iterator[Problem]:
    managed = azure.identity == "managed"
    if provider.api_key is not None:
        yield ("api_key",), "is not needed beside azure.identity; give one of them"
    for name in ("tenant_id", "token_file", "client_secret") if managed else ("client_secret",):
        if getattr(azure, name) is not None:
            yield ("azure", name), f"is not for identity: {azure.identity}"
    if managed:
        try:
            azure.signing()
        except ValueError as error:
            yield ("azure", "identity"), str(error)
        return
    for name, variable in (
        ("tenant_id", "AZURE_TENANT_ID"),
        ("client_id", "AZURE_CLIENT_ID"),
        ("token_file", "AZURE_FEDERATED_TOKEN_FILE"),
    ):
        if getattr(azure, name) is None:
            yield ("azure", name), f"is needed for identity: workload; or set {variable}"


def _aws_problems(provider: ProviderSettings) -> Iterator[Problem]:
    aws = provider.aws or AwsSettings()
    if provider.api_key is not None:
        return
    if aws.region is None:
        yield ("aws", "region"), "is needed, such as eu-central-1; or set AWS_REGION"
    for name, other in (
        ("secret_access_key", "access_key_id"),
        ("access_key_id", "secret_access_key"),
    ):
        if getattr(aws, name) is None and getattr(aws, other) is not None:
            yield ("aws", name), f"is needed with {other}"
            return
    if aws.session_token is not None and aws.access_key_id is None:
        yield ("aws", "access_key_id"), "is needed with session_token"
    elif aws.access_key_id is None and not _is_installed("botocore"):
        reason = (
            "has no credentials: set AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID, or, for "
            "profiles and roles, pip install 'tidegate[bedrock]'"
        )
        yield (("aws", "profile") if aws.profile else ("aws",)), reason


def _google_problems(provider: ProviderSettings) -> Iterator[Problem]:
    google = provider.google or GoogleSettings()
    if provider.api_key is not None:
        yield ("api_key",), "is none for kind vertex; set google.credentials (kind gemini has keys)"
    if not _is_installed("google.auth"):
        yield ("google",), "needs one more package: pip install 'tidegate[vertex]'"
    try:
        google.account(Path())
    except ValueError as error:
        yield ("google", "credentials"), str(error)


def _project_of(google: GoogleSettings) -> str | None:
    try:
        account = google.account(Path()) or {}
    except ValueError:
        return None
    project = account.get("project_id")
    return project if isinstance(project, str) else None


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
