"""Settings become the data that workers get, whole and without loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tidegate.config.compile import compile_snapshot, config_keys
from tidegate.config.digest import key_digest
from tidegate.config.load import Loaded
from tidegate.config.settings import ServerSettings
from tidegate.config.snapshot import EdgeSnapshot, Snapshot, decode_snapshot, encode_snapshot
from tidegate.providers.discover import providers_by_name

PEPPER = bytes(range(32))

TEXT = """
server: {max_body_bytes: 1MiB, keep_alive: 30s, trusted_proxies: [10.0.0.0/8]}
providers:
  acme: {kind: openai-compatible, base_url: "https://acme.example/v1/", api_key: env:K,
         headers: {X-Org: env:ORG}, stream_usage: false, passthrough_models: false}
  mistral: {api_key: env:K}
models:
  fast: {targets: [{provider: acme, model: big, weight: 3}, mistral/large], fallbacks: [slow]}
  slow: {targets: [mistral/small], retries: 0, timeout: 5s}
routing: {retries: 4, timeout: 1m}
limits:
  a: {requests: 60, window: 1m}
  b: {per: ip, requests: 5, window: 500ms, burst: 2, mode: shadow, on_store_failure: closed}
  c: {per: global, concurrency: 8}
default_limits: [a]
keys: {ci: {secret: env:CI, limits: [b], models: [fast], team: t, expires_at: 2027-01-31}}
metrics: {access: token, token: env:TOKEN, max_series_per_family: 50}
logging: {level: debug}
"""


def compiled(load: Callable[..., Loaded]) -> tuple[Loaded, Snapshot]:
    """Return the settings of TEXT and their snapshot."""
    env = {"K": "key", "ORG": "org", "CI": "c" * 30, "TOKEN": "t" * 20}
    loaded = load(TEXT, **env)
    return loaded, compile_snapshot(
        loaded.settings,
        kinds=providers_by_name(),
        generation=7,
        pepper=PEPPER,
        data_dir=Path("/var/lib/tidegate"),
    )


def test_every_setting_arrives(load: Callable[..., Loaded]) -> None:
    """Defaults of the kind, of the routing section and of the burst are filled in."""
    _, snapshot = compiled(load)
    acme, mistral = snapshot.providers
    assert (acme.base_url, acme.credential, acme.headers) == (
        "https://acme.example/v1",
        "key",
        (("x-org", "org"),),
    )
    assert (acme.stream_usage, acme.passthrough_models, acme.auth) == (False, False, "bearer")
    assert (mistral.base_url, mistral.stream_usage) == ("https://api.mistral.ai/v1", False)
    fast, slow = snapshot.models
    assert [(t.provider, t.model, t.weight) for t in fast.targets] == [
        ("acme", "big", 3),
        ("mistral", "large", 1),
    ]
    assert (fast.retries, fast.total_s, fast.fallbacks) == (4, 60.0, ("slow",))
    assert (slow.retries, slow.total_s) == (0, 5.0)
    assert (snapshot.open_retries, snapshot.open_total_s) == (4, 60.0)
    a, b, c = snapshot.limits
    assert (a.unit, a.amount, a.window_ns, a.burst, a.mode) == (
        "requests", 60, 60 * 10**9, 60, "enforce",
    )  # fmt: skip
    assert (b.per, b.burst, b.window_ns, b.mode, b.on_store_failure) == (
        "ip", 2, 500_000_000, "shadow", "closed",
    )  # fmt: skip
    assert (c.per, c.unit, c.amount, c.burst) == ("global", "concurrency", 8, 8)
    assert snapshot.default_limits == ("a",)
    assert (snapshot.metrics.access, snapshot.metrics.token) == ("token", "t" * 20)
    assert snapshot.metrics.max_series_per_family == 50
    assert snapshot.edge.max_body_bytes == 1 << 20
    assert (snapshot.edge.keep_alive_s, snapshot.edge.trusted_proxies) == (30.0, ("10.0.0.0/8",))
    assert (snapshot.generation, snapshot.log_level) == (7, "debug")
    assert (snapshot.pepper, snapshot.data_dir) == (PEPPER, "/var/lib/tidegate")


def test_a_snapshot_survives_the_way_to_a_worker(load: Callable[..., Loaded]) -> None:
    """MessagePack and back is the same."""
    _, snapshot = compiled(load)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


def test_a_snapshot_shows_no_secret(load: Callable[..., Loaded]) -> None:
    """A traceback with a snapshot in it must be safe to paste."""
    _, snapshot = compiled(load)
    shown = f"{snapshot!r} {snapshot.providers!r} {snapshot.metrics!r}"
    assert "key" not in shown.replace("'mistral'", "")
    assert "t" * 20 not in shown
    assert repr(PEPPER) not in shown


def test_keys_of_the_file_are_digests(load: Callable[..., Loaded]) -> None:
    """With a stable id, so that limits and ledger rows outlive a reload."""
    loaded, _ = compiled(load)
    (key,) = config_keys(loaded.settings, PEPPER)
    assert key.id == "cfg_ci"
    assert key.digest == key_digest(PEPPER, "c" * 30)
    assert (key.limits, key.models, key.team) == (("b",), ("fast",), "t")
    assert key.expires_at_ms == 1_801_353_600_000
    assert "c" * 30 not in repr(key)


def test_defaults_of_settings_and_snapshot_agree() -> None:
    """Tests build snapshots by hand; they must mean what a file without settings means."""
    from tidegate.config.compile import _edge

    assert _edge(ServerSettings()) == EdgeSnapshot()
