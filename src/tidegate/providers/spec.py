"""What a provider row is: one frozen record of data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import msgspec

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.operations import OPERATIONS, Paths, operations_of

Capability = Literal["chat", "completions", "embeddings", "moderations", "responses"]


_NO_WIRE_QUIRKS = WireQuirks()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Where a provider differs from the API that it is compatible with.

    Attributes:
        stream_usage: Whether it accepts `stream_options: {include_usage: true}`.
        models_path: Path of its model list below the base URL; empty when it has none.
        wire: Where it differs in what its requests may say, for translated requests.
    """

    stream_usage: bool = True
    models_path: str = "/models"
    wire: WireQuirks = _NO_WIRE_QUIRKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider, or one kind of server that people run themselves.

    Attributes:
        name: Value of `kind` in a configuration, and the default name of the provider.
        title: Name as the provider writes it.
        base_url: Where its API starts, no slash at the end. None: the user must say. Empty:
            built in, nothing is sent anywhere.
        auth: `bearer`, `header:NAME` or `none`: how the credential travels.
        dialects: Wire formats that it speaks, the best one first (`providers.operations`).
        prefixes: Dialect → what stands between `base_url` and its paths, where that is not nothing.
        capabilities: Endpoints that it documents there.
        key_required: Whether it refuses requests without a credential.
        env_key: Environment variable that its own documentation names for the credential.
        env_base_url: Environment variable that may move `base_url`.
        discover: Whether one of those variables is reason enough to offer the provider when
            no file names any.
        starter_models: Model names offered when it was discovered.
        docs_url: Page that this row was checked against.
        checked_on: Day of that check, `YYYY-MM-DD`.
        quirks: Where it differs from the API that it is compatible with.
    """

    name: str
    title: str
    base_url: str | None
    docs_url: str
    checked_on: str
    auth: str = "bearer"
    dialects: tuple[str, ...] = ("openai",)
    capabilities: tuple[Capability, ...] = ("chat",)
    key_required: bool = True
    env_key: str | None = None
    env_base_url: str | None = None
    discover: bool = True
    starter_models: tuple[str, ...] = ()
    quirks: Quirks = Quirks()
    prefixes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for dialect in (*self.dialects, *self.prefixes):
            if dialect not in OPERATIONS:
                raise ValueError(f"provider {self.name!r}: {dialect!r} is no known dialect")

    def operations(self, dialects: Iterable[str] | None = None) -> dict[str, Paths]:
        """Return what can be asked of it and at which paths; see `operations.operations_of`."""
        return operations_of(self.dialects if dialects is None else dialects, self.prefixes)

    @property
    def packed_quirks(self) -> bytes:
        """`quirks.wire` as MessagePack, for the way to the workers."""
        return msgspec.msgpack.encode(self.quirks.wire)
