"""What the environment adds to one provider: its address, and credentials for that address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tidegate.config.provider_kind import ProviderKind
from tidegate.config.secret import Secret


def is_found(kind: ProviderKind, env: Mapping[str, str]) -> bool:
    """Whether the environment says enough to offer a provider that no file names."""
    places = [kind.env_base_url] if kind.base_url is None else [kind.env_key, kind.env_base_url]
    return any(name and env.get(name) for name in places)


def fill_in(provider: dict[str, Any], kind: ProviderKind, env: Mapping[str, str]) -> None:
    """Give *provider* (plain settings, changed in place) what its kind's variables say."""
    # The usual variables' credentials belong to the kind's own hosts, to no other.
    own_host = _is_own_host(provider.get("base_url"), kind)
    if "base_url" not in provider and kind.env_base_url:
        url = env.get(kind.env_base_url, "").strip()
        if url:
            provider["base_url"] = url if kind.section else _with_version(url)
            own_host = own_host and (not kind.own_hosts or _is_own_host(url, kind))
    for setting, names in kind.env_settings.items():
        _fill(provider, setting, names, env)
    if not own_host or "api_key" in provider or _has_any(provider, kind.env_credentials):
        return
    key = env.get(kind.env_key, "").strip() if kind.env_key else ""
    if key:
        provider["api_key"] = Secret(key, f"env:{kind.env_key}")
        return
    first = next(iter(kind.env_credentials.values()), ())
    if any(env.get(name, "").strip() for name in first):
        for setting, names in kind.env_credentials.items():
            _fill(provider, setting, names, env)


def _fill(
    provider: dict[str, Any], setting: str, names: tuple[str, ...], env: Mapping[str, str]
) -> None:
    """Set `section.field` to the first of *names* that is set, unless it has a value."""
    section, _, field = setting.partition(".")
    found = next((name for name in names if env.get(name, "").strip()), None)
    if found is None:
        return
    fields = provider.get(section)
    if fields is None:
        fields = provider[section] = {}
    if isinstance(fields, dict) and fields.get(field) is None:
        fields[field] = f"env:{found}" if _is_secret(field) else env[found].strip()


def _is_secret(field: str) -> bool:
    return "secret" in field or "token" in field


def _has_any(provider: Mapping[str, Any], settings: Mapping[str, object]) -> bool:
    """Whether the file names a credential of its own, in full or in part."""
    for setting in settings:
        section, _, field = setting.partition(".")
        fields = provider.get(section)
        if isinstance(fields, dict) and fields.get(field) is not None:
            return True
    for section, field in (("aws", "profile"), ("azure", "identity")):
        fields = provider.get(section)
        if isinstance(fields, dict) and fields.get(field) is not None:
            return True
    return False


def _is_own_host(base_url: object, kind: ProviderKind) -> bool:
    if base_url is None or base_url == kind.base_url:
        return True
    if not isinstance(base_url, str) or not base_url.startswith("https://"):
        return False
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return False
    return any(host == own or host.endswith("." + own) for own in kind.own_hosts)


def _with_version(url: str) -> str:
    """Add `/v1` to a bare host, as the seed's `OLLAMA_BASE_URL` has none."""
    bare = url.rstrip("/")
    return bare + "/v1" if bare.count("/") == 2 else bare
