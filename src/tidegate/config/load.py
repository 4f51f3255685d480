"""From a file and the environment to checked `Settings`, or to every reason why not."""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from tidegate.config.cloud_rules import (
    cloud_problems,
    cloud_risks,
    sends_credential,
    signing_of,
    with_surroundings,
)
from tidegate.config.document import Document, read_document
from tidegate.config.environment import Overlay
from tidegate.config.listen_address import split_listen
from tidegate.config.networks import PRIVATE, NetworkSet
from tidegate.config.otel_environment import otel_installed
from tidegate.config.provider_kind import Kinds
from tidegate.config.provider_settings import ProviderSettings
from tidegate.config.proxies import check_proxy, proxy_variable
from tidegate.config.rules import MIN_TOKEN_CHARACTERS, find_problems
from tidegate.config.secret import Secret, Sources
from tidegate.config.setting_path import SettingPath, show_path
from tidegate.config.settings import Settings
from tidegate.config.settings_file import find_file, tidy
from tidegate.config.units import MAX_DURATION_NS
from tidegate.config.validation import problems_of
from tidegate.errors import ConfigError

SHORT_KEY_CHARACTERS: Final = 20
MIN_SPACING_NS: Final = 1_000
"""Least time between two requests of one limit, so that rounding to nanoseconds is nothing."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked configuration and where it came from.

    Attributes:
        settings: With every reference resolved and `server.data_dir` absolute.
        path: The absolute path of the file, or None when there was none.
        warnings: Sentences for whoever operates the gateway; none holds a secret.
    """

    settings: Settings
    path: Path | None
    warnings: tuple[str, ...]


def load_settings(
    path: Path | None,
    env: Mapping[str, str],
    cwd: Path,
    *,
    kinds: Kinds,
    overrides: Mapping[str, object] | None = None,
) -> Loaded:
    """Read, complete and check the configuration.

    Args:
        path: The file; None means `tidegate.yaml` in *cwd* if it is there, else defaults.
        env: The environment.
        cwd: Folder that relative paths start from, unless a file's folder takes its place.
        kinds: The provider table, `providers.discover.providers_by_name()`.
        overrides: Dotted setting → value, from the command line: `{"server.port": 9000}`.
            They win over everything; relative paths among them start from *cwd*.

    Raises:
        ConfigError: With all problems found, in the order of the file.
    """
    path = find_file(path, cwd)
    document = Document({}, {}) if path is None else read_document(path)
    if path is not None and not path.read_bytes().strip():
        # A file that was cut off while it was written must not mean "all defaults".
        raise ConfigError([(str(path), "is empty; write {} if you mean the defaults")])
    file = "" if path is None else str(path)
    raw = tidy(document.data)
    overlay = Overlay(raw, env, kinds)
    overlay.apply()
    _override(raw, overrides or {}, cwd)
    sources = Sources(env, cwd if path is None else path.parent)
    problems, warnings = list(overlay.problems), list(overlay.warnings)
    found = find_problems(raw, kinds)
    try:
        settings = Settings.model_validate(raw, context=sources)
    except ValidationError as error:
        found = _merged(found, problems_of(error, Settings))
        raise ConfigError(problems + _shown(found, document), file) from None
    problems += _shown(found, document)
    settings = _with_proxies(settings, env, problems)
    settings = _with_data_dir(settings, sources.base_dir)
    settings = with_surroundings(settings, sources)
    late = _late_problems(settings, sources.base_dir) + cloud_problems(settings, kinds)
    problems += _shown(late, document)
    if problems:
        raise ConfigError(problems, file)
    settings = _with_absolute_tls(settings, sources.base_dir)
    return Loaded(settings, path, (*warnings, *_risks(settings, kinds, sources)))


def check_bind(settings: Settings, has_keys: bool) -> None:
    """Refuse to serve strangers without a key.

    Args:
        settings: The configuration.
        has_keys: Whether the store holds a usable key (those of the file are seen here).

    Raises:
        ConfigError: `server.host` is not a loopback address and there is no key at all.
    """
    if has_keys or settings.keys or is_loopback(settings.server.host):
        return
    reason = (
        f"{settings.server.host} can be reached from other machines, and there is no API key: "
        f"create one with `tidegate keys create --name NAME --data-dir "
        f"{settings.server.data_dir}`, or use 127.0.0.1"
    )
    raise ConfigError([("server.host", reason)])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*. Names other than localhost count as public."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _override(raw: dict[str, Any], overrides: Mapping[str, object], cwd: Path) -> None:
    for dotted, value in overrides.items():
        section_name, field = dotted.split(".")
        section = raw.setdefault(section_name, {})
        if isinstance(section, dict):
            section[field] = cwd / value if isinstance(value, Path) else value


def _merged(
    first: list[tuple[SettingPath, str]], more: list[tuple[SettingPath, str]]
) -> list[tuple[SettingPath, str]]:
    """Join, telling one thing at a place: a rule's reason says more than a type's."""
    known = {path for path, _ in first}
    return first + [(path, reason) for path, reason in more if path not in known]


def _shown(found: list[tuple[SettingPath, str]], document: Document) -> list[tuple[str, str]]:
    """Return problems in the file's order, each with its line."""
    placed = []
    for path, reason in found:
        place = path
        while place and place not in document.lines:
            place = place[:-1]
        line = document.lines.get(place)
        placed.append((line or 0, show_path(path), f"{reason} (line {line})" if line else reason))
    placed.sort(key=lambda item: item[0])
    return [(path, reason) for _, path, reason in placed]


def _with_proxies(
    settings: Settings, env: Mapping[str, str], problems: list[tuple[str, str]]
) -> Settings:
    providers: dict[str, ProviderSettings] = {}
    for name, provider in settings.providers.items():
        place, proxy = show_path(("providers", name, "proxy")), provider.proxy
        if proxy is None:
            variable = proxy_variable(provider.base_url or "https://unknown.invalid", env)
            if variable is None or provider.base_url == "":
                providers[name] = provider
                continue
            place, proxy = variable, Secret(env[variable], f"env:{variable}")
        if proxy.reveal() == "none":
            providers[name] = provider.model_copy(update={"proxy": None})
            continue
        try:
            proxy = Secret(check_proxy(proxy.reveal()), proxy.source)
        except ValueError as error:
            if (place, str(error)) not in problems:
                problems.append((place, str(error)))
        providers[name] = provider.model_copy(update={"proxy": proxy})
    return settings.model_copy(update={"providers": providers})


def _with_data_dir(settings: Settings, base_dir: Path) -> Settings:
    data_dir = (base_dir / settings.server.data_dir.expanduser()).absolute()
    server = settings.server.model_copy(update={"data_dir": data_dir})
    return settings.model_copy(update={"server": server})


def _with_absolute_tls(settings: Settings, base_dir: Path) -> Settings:
    update: dict[str, object] = {}
    for name, section in (("server", settings.server), ("metrics", settings.metrics)):
        tls = section.tls
        if tls is not None:
            paths = {
                "certificate": (base_dir / tls.certificate).absolute(),
                "key": (base_dir / tls.key).absolute(),
            }
            update[name] = section.model_copy(update={"tls": tls.model_copy(update=paths)})
    return settings.model_copy(update=update)


def _late_problems(settings: Settings, base_dir: Path) -> list[tuple[SettingPath, str]]:
    """Return what shows only in resolved values: secrets, certificates, ports."""
    found: list[tuple[SettingPath, str]] = []
    owners: dict[str, str] = {}
    for name, key in settings.keys.items():
        owner = owners.setdefault(key.secret.reveal(), name)
        if owner != name:
            found.append((("keys", name, "secret"), f"is the same secret as that of key {owner}"))
    token = settings.metrics.token
    if token is not None:
        text = token.reveal()
        if len(text) < MIN_TOKEN_CHARACTERS or not text.isascii() or " " in text:
            reason = f"must be at least {MIN_TOKEN_CHARACTERS} ASCII characters without blanks"
            found.append((("metrics", "token"), reason))
    found += _limit_problems(settings)
    database = settings.stores.database
    if database.is_postgresql and importlib.util.find_spec("asyncpg") is None:
        reason = "PostgreSQL needs one more package: pip install 'tidegate[postgres]'"
        found.append((("stores", "database"), reason))
    if settings.tracing.endpoint is not None and not otel_installed():
        reason = "traces need one more package: pip install 'tidegate[otel]'"
        found.append((("tracing", "endpoint"), reason))
    server = settings.server
    if server.control_port and server.port == server.control_port:
        found.append((("server", "control_port"), "is the data port's too; take another"))
    found += _page_problems(settings)
    page_tls = settings.metrics.tls if settings.metrics.listen is not None else None
    for name, tls in (("server", server.tls), ("metrics", page_tls)):
        if tls is not None:
            found += _tls_problems(name, base_dir / tls.certificate, base_dir / tls.key)
    return found


def _page_problems(settings: Settings) -> list[tuple[SettingPath, str]]:
    """Return why nobody could read the metrics page, or its listener cannot be."""
    found: list[tuple[SettingPath, str]] = []
    metrics, server = settings.metrics, settings.server
    if metrics.listen is not None:
        port = split_listen(metrics.listen)[1]
        for name, other in (("data", server.port), ("control", server.control_port)):
            if port and port == other:
                found.append((("metrics", "listen"), f"has the {name} port; take another"))
    if metrics.access == "private":
        private = NetworkSet(PRIVATE)
        for index, network in enumerate(metrics.networks):
            if not private.overlaps(NetworkSet((network,))):
                reason = "is no private network, so access: private shuts it out; take access: open"
                found.append((("metrics", "networks", index), reason))
    return found


def _limit_problems(settings: Settings) -> list[tuple[SettingPath, str]]:
    """Return limits whose numbers the limiter cannot hold exactly."""
    found: list[tuple[SettingPath, str]] = []
    for name, limit in settings.limits.items():
        if limit.window is None or limit.requests is None:
            continue
        if limit.amount * MIN_SPACING_NS > limit.window.ns:
            reason = "is more than a million per second; no gateway sees that"
            found.append((("limits", name, "requests"), reason))
        refill_ns = (limit.burst or limit.amount) * limit.window.ns // limit.amount
        if refill_ns > MAX_DURATION_NS:
            reason = "takes longer than 400 days to come back; take a smaller burst"
            found.append((("limits", name, "burst"), reason))
    return found


def _tls_problems(section: str, certificate: Path, key: Path) -> list[tuple[SettingPath, str]]:
    import ssl  # only here: it costs 10 ms and most gateways have TLS ended in front

    found: list[tuple[SettingPath, str]] = []
    for field, path in (("certificate", certificate), ("key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            found.append(((section, "tls", field), f"cannot read {path}: {error.strerror}"))
    if not found:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An empty passphrase: OpenSSL would ask the terminal for it, and wait.
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError, OSError) as error:
            reason = getattr(error, "reason", None) or "not a PEM pair without a passphrase"
            found.append(((section, "tls"), f"certificate and key cannot be used: {reason}"))
    return found


def _risks(settings: Settings, kinds: Kinds, sources: Sources) -> list[str]:
    warnings = []
    for name, provider in settings.providers.items():
        place = show_path(("providers", name))
        kind = kinds[provider.kind]
        url = provider.base_url or kind.base_url or ""
        if kind.key_required and provider.api_key is None and signing_of(provider) is None:
            hint = f" (set {kind.env_key})" if kind.env_key else ""
            warnings.append(f"{place} has no api_key{hint}: {kind.title} will refuse requests")
        if sends_credential(provider) and url.startswith("http://") and not _is_near(url):
            warnings.append(f"{place}: its credential travels unencrypted to {url}")
        if provider.api_key is not None and provider.api_key in sources.inline:
            warnings.append(f"{place}.api_key is written in the file; prefer env:NAME or file:PATH")
        warnings += cloud_risks(place, provider, sources.inline)
    warnings += _database_risks(settings, sources)
    if settings.server.control_port and not is_loopback(settings.server.control_host):
        warnings.append(
            f"server.control_host: {settings.server.control_host} can be reached from other "
            "machines, and the admin token travels unencrypted to it; put a proxy with TLS in front"
        )
    warnings += _tracing_risks(settings)
    for name, key in settings.keys.items():
        place = show_path(("keys", name, "secret"))
        if key.secret in sources.inline:
            warnings.append(f"{place} is written in the file; prefer env:NAME or file:PATH")
        if len(key.secret.reveal()) < SHORT_KEY_CHARACTERS:
            warnings.append(
                f"{place} is shorter than {SHORT_KEY_CHARACTERS} characters and can be guessed; "
                "`tidegate keys create` makes good ones"
            )
    return warnings


def _database_risks(settings: Settings, sources: Sources) -> list[str]:
    stores, warnings = settings.stores, []
    for name, secret in (
        ("database", stores.database),
        ("password", stores.password),
        ("pepper", stores.pepper),
    ):
        if secret is not None and any(secret is found for found in sources.inline):
            warnings.append(f"stores.{name} is written in the file; prefer env:NAME or file:PATH")
    if stores.database.is_postgresql and not stores.database.is_encrypted:
        far = [host for host in stores.database.hosts if not _is_near(f"http://{host}")]
        if far:
            warnings.append(
                f"stores.database: digests of keys may travel unencrypted to {', '.join(far)}; "
                "add ?sslmode=verify-full to the address"
            )
    return warnings


def _tracing_risks(settings: Settings) -> list[str]:
    tracing, warnings = settings.tracing, []
    endpoint = tracing.endpoint or ""
    if tracing.headers and endpoint.startswith("http://") and not _is_near(endpoint):
        warnings.append(f"tracing: its headers travel unencrypted to {endpoint}")
    if endpoint and tracing.capture_content:
        warnings.append("tracing.capture_content: prompts and answers are sent to the collector")
    return warnings


def _is_near(url: str) -> bool:
    """Whether a URL's host is this machine or a private address."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return address.is_loopback or address.is_private
