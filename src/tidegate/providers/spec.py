"""What a provider row is: one frozen record of data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from tidegate.config.placement import Placement
from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.operations import OPERATIONS, Paths, operations_of

Capability = Literal["chat", "completions", "embeddings", "moderations", "responses"]

_NO_WIRE_QUIRKS = WireQuirks()


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Where a provider differs from the API that it is compatible with.

    Attributes:
        stream_usage: Whether it accepts `stream_options: {include_usage: true}`.
        models_path: Path of its model list below the base URL; empty when it has none.
        native_models: Whether its models are learned from the list that Ollama keeps outside
            the API that it is compatible with (`providers.ollama_tags`).
        counts_responses: Whether it counts the tokens of a response's input, as OpenAI does
            at `/responses/input_tokens`.
        wire: Where it differs in what its requests may say, for translated requests.
    """

    stream_usage: bool = True
    models_path: str = "/models"
    native_models: bool = False
    counts_responses: bool = False
    wire: WireQuirks = _NO_WIRE_QUIRKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider, or one kind of server that people run themselves.

    Attributes:
        name: Value of `kind` in a configuration, and the default name of the provider.
        title: Name as the provider writes it.
        base_url: Where its API starts, no slash at the end. None: the user must say. Empty:
            built in, nothing is sent anywhere.
        example_url: What a user's address looks like, where the row has none.
        auth: How the credential travels: `bearer`, `header:NAME`, `none`; `sigv4` (Amazon) and
            `google` sign or fetch a token for each request.
        dialects: Wire formats that it speaks, the best one first (`providers.operations`).
        prefixes: Dialect → what stands between `base_url` and its paths, where that is not nothing.
        capabilities: Endpoints that it documents there.
        key_required: Whether it refuses requests without a credential.
        env_key: Environment variable that its own documentation names for the credential.
        env_base_url: Environment variable that may move `base_url`.
        env_settings: Setting such as `aws.region` → environment variables that fill it in, the
            first that is set.
        env_credentials: The same for settings that together are a credential; left alone where
            there is another one.
        own_hosts: Host names, or ends of them, that are this provider's, where `base_url` does
            not say so: what the environment holds is for no other host.
        section: Settings of a provider that only this kind has: `azure`, `aws` or `google`.
        discover: Whether one of those variables is reason enough to offer the provider when
            no file names any.
        starter_models: Model names offered when it was discovered.
        docs_url: Its documentation.
        checked_on: Day on which that page, or a stored copy of it, or what `checked_in` names,
            was read for this row, `YYYY-MM-DD`. None: written from general knowledge, nobody has
            checked it.
        checked_in: What else of the provider's own was read, such as its SDK and the version.
        quirks: Where it differs from the API that it is compatible with.
    """

    name: str
    title: str
    base_url: str | None
    docs_url: str
    checked_on: str | None = None
    checked_in: str = ""
    example_url: str = ""
    auth: str = "bearer"
    dialects: tuple[str, ...] = ("openai",)
    capabilities: tuple[Capability, ...] = ("chat",)
    key_required: bool = True
    env_key: str | None = None
    env_base_url: str | None = None
    env_settings: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    env_credentials: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    own_hosts: tuple[str, ...] = ()
    section: Literal["", "azure", "aws", "google"] = ""
    discover: bool = True
    starter_models: tuple[str, ...] = ()
    quirks: Quirks = Quirks()
    prefixes: Mapping[str, str] = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        for dialect in (*self.dialects, *self.prefixes):
            if dialect not in OPERATIONS:
                raise ValueError(f"provider {self.name!r}: {dialect!r} is no known dialect")

    def operations(self, dialects: Iterable[str] | None = None) -> dict[str, Paths]:
        """Return what can be asked of it and at which paths; see `operations.operations_of`."""
        found = operations_of(self.dialects if dialects is None else dialects, self.prefixes)
        if not self.quirks.counts_responses:
            found.pop("responses_input_tokens", None)
        return found

    def place(
        self,
        base_url: str | None,
        options: Mapping[str, str],
        dialects: Iterable[str] | None = None,
    ) -> Placement:
        """Return where a configured provider is and what it can be asked.

        Args:
            base_url: The configured one; None for the row's own.
            options: Settings of its `section` that are no secrets, by name.
            dialects: The configured ones; None for the row's own.

        Raises:
            ValueError: A setting is missing; the message is `name: reason`.
        """
        return Placement(base_url or self.base_url or "", self.operations(dialects))

    @property
    def packed_quirks(self) -> bytes:
        """`quirks.wire` as MessagePack, for the way to the workers."""
        return msgspec.msgpack.encode(self.quirks.wire)
