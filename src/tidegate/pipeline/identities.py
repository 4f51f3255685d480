"""Series by key and team, where the operator asked for them (`metrics.identity_labels`).

Only names of configured and stored keys get here: a request without a valid key has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.metrics.families.identities import KEY_COST, KEY_REQUESTS, KEY_TOKENS

if TYPE_CHECKING:
    from tidegate.dialects.usage import Usage
    from tidegate.keys.principal import Principal
    from tidegate.metrics.registry import Registry
    from tidegate.metrics.series import CounterSeries

_MOST_KEYS = 10_000


class KeyMeters:
    """Series of one key, or of one team, or of both together."""

    __slots__ = ("_cost", "_input", "_names", "_output", "_registry", "_statuses")

    def __init__(self, registry: Registry, key: str, team: str) -> None:
        self._registry = registry
        self._names = (key, team)
        self._statuses: dict[int, CounterSeries] = {}
        tokens = registry.counter(KEY_TOKENS)
        self._input = tokens.labels(key, team, "input")
        self._output = tokens.labels(key, team, "output")
        self._cost = registry.counter(KEY_COST).labels(key, team)

    def status(self, status: int) -> CounterSeries:
        """Return the counter of the class of *status*; 0 (the client left) counts as 499."""
        series = self._statuses.get(status)
        if series is None:
            handle = self._registry.counter(KEY_REQUESTS)
            series = handle.labels(*self._names, f"{(status or 499) // 100}xx")
            self._statuses[status] = series
        return series

    def count_usage(self, usage: Usage, cost_nano_usd: int | None) -> None:
        """Count tokens and money of one attempt."""
        self._input.inc(usage.input_tokens)
        self._output.inc(usage.output_tokens)
        tokens = self._registry.counter(KEY_TOKENS)
        if usage.cached_input_tokens:
            tokens.labels(*self._names, "cached_input").inc(usage.cached_input_tokens)
        if usage.cache_write_tokens:
            tokens.labels(*self._names, "cache_write").inc(usage.cache_write_tokens)
        if usage.reasoning_tokens:
            tokens.labels(*self._names, "reasoning").inc(usage.reasoning_tokens)
        if cost_nano_usd:
            self._cost.inc(cost_nano_usd / 1e9)


class Identities:
    """Finds the series of whoever asks.

    Args:
        registry: This process's.
        labels: `key`, `team` or both; the other one stays empty.
    """

    __slots__ = ("_by_key", "_by_team", "_known", "_registry")

    def __init__(self, registry: Registry, labels: tuple[str, ...]) -> None:
        self._registry = registry
        self._by_key = "key" in labels
        self._by_team = "team" in labels
        self._known: dict[str, tuple[str, str | None, KeyMeters]] = {}

    def of(self, principal: Principal) -> KeyMeters:
        """Return the series of *principal*; a key that was renamed gets those of its new name."""
        known = self._known.get(principal.key_id)
        if known is not None and known[0] == principal.name and known[1] == principal.team:
            return known[2]
        meters = KeyMeters(
            self._registry,
            principal.name if self._by_key else "",
            (principal.team or "") if self._by_team else "",
        )
        if len(self._known) >= _MOST_KEYS:
            self._known.clear()
        self._known[principal.key_id] = (principal.name, principal.team, meters)
        return meters
