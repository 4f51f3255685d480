"""What the configuration must know of a provider row; `providers.spec.Provider` is one.

The rows stand above this package (some bring code that speaks a dialect), so whoever
loads a configuration hands them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from tidegate.config.placement import Placement


class ProviderQuirks(Protocol):
    """The quirks that a setting can override."""

    @property
    def stream_usage(self) -> bool:
        """Whether it accepts `stream_options.include_usage`."""

    @property
    def native_models(self) -> bool:
        """Whether its models are learned from Ollama's own list."""


class ProviderKind(Protocol):
    """The data of one provider row that settings are checked and filled in with."""

    @property
    def name(self) -> str:
        """Value of `kind`, such as `openai`."""

    @property
    def title(self) -> str:
        """Name as the provider writes it."""

    @property
    def base_url(self) -> str | None:
        """Default base URL; None when the user must give one; empty for a built-in one."""

    @property
    def example_url(self) -> str:
        """What a user's base URL looks like, where there is no default."""

    @property
    def auth(self) -> str:
        """`bearer`, `header:NAME`, `none`, `sigv4` or `google`."""

    @property
    def capabilities(self) -> Sequence[str]:
        """Kinds of endpoints that it documents, such as `chat`."""

    @property
    def key_required(self) -> bool:
        """Whether it refuses requests without a credential."""

    @property
    def env_key(self) -> str | None:
        """Environment variable that its credential is known by."""

    @property
    def env_base_url(self) -> str | None:
        """Environment variable that its base URL is known by."""

    @property
    def discover(self) -> bool:
        """Whether finding `env_key` or `env_base_url` is reason enough to offer it."""

    @property
    def starter_models(self) -> tuple[str, ...]:
        """Model names offered when it was found in the environment."""

    @property
    def env_settings(self) -> Mapping[str, tuple[str, ...]]:
        """Setting such as `aws.region` → environment variables that fill it in."""

    @property
    def env_credentials(self) -> Mapping[str, tuple[str, ...]]:
        """The same for settings that together are a credential."""

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Hosts, or ends of their names, that credentials of the environment may go to."""

    @property
    def section(self) -> str:
        """Settings that only this kind has: `azure`, `aws`, `google`, or empty."""

    def place(
        self,
        base_url: str | None,
        options: Mapping[str, str],
        dialects: Iterable[str] | None = None,
    ) -> Placement:
        """Return where it is and what it can be asked; raises ValueError `setting: reason`."""

    @property
    def packed_quirks(self) -> bytes:
        """How its requests differ, packed."""

    @property
    def quirks(self) -> ProviderQuirks:
        """Where it differs from the API that it is compatible with."""


Kinds = Mapping[str, ProviderKind]
