"""What the environment adds to a configuration.

A file wins over a seed alias, as an alias only fills what the file leaves out; the
`TIDEGATE_*` names win over the file, as they are set by whoever starts this one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final, TypeVar

from tidegate.config.otel_environment import add_tracing
from tidegate.config.provider_environment import fill_in, is_found
from tidegate.config.provider_kind import Kinds
from tidegate.config.secret import Secret

_T = TypeVar("_T")

#: The key that the documentation of the seed system prints: everybody knows it.
_PUBLISHED_KEY: Final = "sk-gateway-123"

OVERRIDES: Final[dict[str, tuple[str, str, type]]] = {
    "TIDEGATE_HOST": ("server", "host", str),
    "TIDEGATE_PORT": ("server", "port", int),
    "TIDEGATE_CONTROL_PORT": ("server", "control_port", int),
    "TIDEGATE_WORKERS": ("server", "workers", int),
    "TIDEGATE_DATA_DIR": ("server", "data_dir", str),
    "TIDEGATE_LOG_LEVEL": ("logging", "level", str),
}
"""Variable → section, field, type. They win over the file."""

ALIASES: Final[dict[str, str]] = {
    "RATE_LIMITER_CAPACITY": "burst of a limit for every key, if the file has no `limits`",
    "RATE_LIMITER_REFILL_RATE": "requests per second of that limit; fractions are fine",
    "API_KEYS": "comma-separated API keys, if the file has no `keys`",
    "OLLAMA_BASE_URL": "`base_url` of the provider kind `ollama`; `/v1` is added to a bare host",
    "GEMINI_API_KEY": "`api_key` of the provider kind `gemini`",
    "PROVIDER_TIMEOUT_SECONDS": "`first_byte_timeout` of providers that do not say otherwise",
    "PROVIDER_MAX_RETRIES": "`routing.retries`, if the file does not say otherwise",
    "REDIS_URL": "not used yet: one host needs no server for its limits",
    "CACHE_TTL_SECONDS": "not used yet: there is no cache",
}
"""Names of the seed system and what each one means here."""


class Overlay:
    """Adds to *raw* (a configuration as plain data, changed in place) what *env* says.

    Attributes:
        problems: `(variable, reason)` of values that cannot be used.
        warnings: Sentences about variables that have no effect, or a risky one.
    """

    def __init__(self, raw: dict[str, Any], env: Mapping[str, str], kinds: Kinds) -> None:
        self.problems: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self._raw = raw
        self._env = env
        self._kinds = kinds

    def apply(self) -> None:
        """Do it all, in the order in which later steps need earlier ones."""
        self._override()
        if "providers" not in self._raw:
            self._discover_providers()
        self._fill_providers()
        self._add_limit()
        self._add_keys()
        self._add_retries()
        self.warnings += add_tracing(self._raw, self._env)
        for name in ("REDIS_URL", "CACHE_TTL_SECONDS"):
            if self._env.get(name):
                self.warnings.append(f"{name} is {ALIASES[name]}")

    def _section(self, name: str) -> dict[str, Any]:
        """Return a section to write to; a throw-away one if the file has no mapping there."""
        section = self._raw.setdefault(name, {})
        return section if isinstance(section, dict) else {}

    def _override(self) -> None:
        for variable, (section, field, kind) in OVERRIDES.items():
            text = self._env.get(variable, "").strip()
            if not text:
                continue
            value: str | int = text
            if kind is int and text != "auto":
                if not text.isascii() or not text.isdigit():
                    self.problems.append((variable, "must be a whole number"))
                    continue
                value = int(text)
            self._section(section)[field] = value

    def _discover_providers(self) -> None:
        """Offer what the environment has credentials for, and the demo.

        Their model names are added only when the file names no models.
        """
        providers: dict[str, Any] = {}
        models: dict[str, Any] = {}
        for name, kind in sorted(self._kinds.items()):
            if kind.discover and is_found(kind, self._env):
                providers[name] = {}
                for model in kind.starter_models:
                    models[model] = {"targets": [{"provider": name, "model": model}]}
        if "demo" in self._kinds:
            providers["demo"] = {"passthrough_models": False}
            models["demo"] = {"targets": [{"provider": "demo", "model": "demo"}]}
        self._raw["providers"] = providers
        self._raw.setdefault("models", models)

    def _fill_providers(self) -> None:
        """Give each provider its kind and what its kind's variables say."""
        timeout = self._number("PROVIDER_TIMEOUT_SECONDS", _whole(1, 3600))
        for name, provider in self._section("providers").items():
            if not isinstance(provider, dict):
                continue
            provider.setdefault("kind", name)
            kind = self._kinds.get(provider["kind"]) if _is_text(provider["kind"]) else None
            if kind is None:
                continue
            if timeout is not None:
                provider.setdefault("first_byte_timeout", timeout)
            fill_in(provider, kind, self._env)

    def _add_limit(self) -> None:
        names = ("RATE_LIMITER_CAPACITY", "RATE_LIMITER_REFILL_RATE")
        if not any(self._env.get(name) for name in names):
            return
        if "limits" in self._raw or "default_limits" in self._raw:
            self.warnings.append(f"{names[0]} and {names[1]} are not used: the file has limits")
            return
        capacity = self._number(names[0], _whole(1, 1_000_000_000), 5)
        rate = self._number(names[1], _rate, Fraction(1))
        if capacity is not None and rate is not None:
            self._raw["limits"] = {
                "default": {
                    "per": "key",
                    "requests": rate.numerator,
                    "window": rate.denominator,
                    "burst": capacity,
                }
            }
            self._raw["default_limits"] = ["default"]

    def _add_keys(self) -> None:
        secrets = dict.fromkeys(part.strip() for part in self._env.get("API_KEYS", "").split(","))
        secrets.pop("", None)
        if not secrets:
            return
        if "keys" in self._raw:
            self.warnings.append("API_KEYS is not used: the file has keys")
            return
        if _PUBLISHED_KEY in secrets:
            self.warnings.append(
                "API_KEYS holds the key that the seed system's documentation prints; "
                "anybody may know it: replace it"
            )
        self._raw["keys"] = {
            f"api-key-{number}": {"secret": Secret(secret, "env:API_KEYS")}
            for number, secret in enumerate(secrets, 1)
        }

    def _add_retries(self) -> None:
        retries = self._number("PROVIDER_MAX_RETRIES", _whole(0, 10))
        if retries is not None:
            self._section("routing").setdefault("retries", retries)

    def _number(self, name: str, read: Callable[[str], _T], default: _T | None = None) -> _T | None:
        text = self._env.get(name, "").strip()
        if not text:
            return default
        try:
            return read(text)
        except (ValueError, ZeroDivisionError) as error:
            self.problems.append((name, str(error)))
            return None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        plain = text.isascii() and text.isdigit() and len(text) <= 12
        if not plain or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


def _rate(text: str) -> Fraction:
    message = "must be a number of requests per second from 0.0001 to 1000000"
    try:
        rate = Fraction(text) if len(text) <= 20 and "/" not in text and "e" not in text else None
    except ValueError:
        rate = None
    if rate is None or not Fraction(1, 10_000) <= rate <= 1_000_000:
        raise ValueError(message)
    return rate.limit_denominator(10_000)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
