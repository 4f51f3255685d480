"""What the supervisor takes from a configuration: its own settings, and what children get."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from tidegate.config.snapshot import (
    DatabaseSnapshot,
    ModelSnapshot,
    ProviderSnapshot,
    decode_snapshot,
    encode_snapshot,
)
from tidegate.control.messages import Drain, encode_keys
from tidegate.errors import ConfigError


class Overrides(NamedTuple):
    """What the command line says.

    Attributes:
        file: The configuration file; None looks for `tidegate.yaml` in the working directory.
        settings: Dotted setting → value; wins over file and environment.
    """

    file: Path | None
    settings: dict[str, object]


class Plan(NamedTuple):
    """One configuration, compiled.

    Attributes:
        generation: Its number.
        file: The file that it was read from, if any.
        snapshot: Packed `Snapshot` for the workers.
        config_keys: Packed key snapshots of the file, for control.
        no_key: Problems to refuse the start with if the store has no key either; empty when a
            first key may be made instead.
        first_model: A model name that works at once, for the welcome.
        warnings: For the operator.
        needs_restart: Settings that differ from those of the running instance and were left.
        database: The server of keys and ledger, for control alone; None for the file.
        page_listen: Where the metrics page has a listener of its own; None: on the data port.
        page_tls: Whether that one speaks TLS.
    """

    generation: int
    file: str | None
    snapshot: bytes
    config_keys: bytes
    no_key: tuple[tuple[str, str], ...]
    host: str
    port: int
    tls: bool
    workers: int
    data_dir: str
    drain_s: float
    shutdown_delay_s: float
    hang_timeout_s: float
    log_level: str
    first_model: str
    warnings: tuple[str, ...]
    needs_restart: tuple[str, ...] = ()
    database: DatabaseSnapshot | None = None
    page_listen: tuple[str, int] | None = None
    page_tls: bool = False

    def last_drain(self) -> Drain:
        """The order to drain when the instance ends."""
        return Drain(accept_s=self.shutdown_delay_s, drain_s=self.drain_s, last=True)

    def replace_drain(self) -> Drain:
        """The order to drain for a worker that has a successor."""
        return Drain(accept_s=0.0, drain_s=self.drain_s, last=False)


def load_plan(overrides: Overrides, generation: int, *, previous: Plan | None = None) -> Plan:
    """Read, check and compile the configuration as it is now.

    Args:
        overrides: From the command line.
        generation: The number to give it.
        previous: The plan in force at a reload; what cannot change in a running instance
            (listener, workers, data directory, database) is kept from it.

    Raises:
        ConfigError: With every problem found.
    """
    # Here, not above: pydantic and YAML cost 0.2 s, in which the children already import theirs.
    from tidegate.config.compile import compile_snapshot, config_keys, database_snapshot
    from tidegate.config.load import check_bind, load_settings
    from tidegate.config.pepper import find_pepper
    from tidegate.ledger.catalogue import compile_price_table
    from tidegate.ledger.prices import encode_price_table
    from tidegate.providers.discover import providers_by_name

    kinds = providers_by_name()
    file = overrides.file
    if previous is not None and previous.file is not None:
        file = Path(previous.file)
    if previous is not None and file is not None and not file.exists():
        raise ConfigError([(str(file), "is gone; the configuration in force was read from it")])
    loaded = load_settings(file, os.environ, Path.cwd(), kinds=kinds, overrides=overrides.settings)
    server = loaded.settings.server
    data_dir = Path(previous.data_dir) if previous else server.data_dir
    wanted_pepper, warning = find_pepper(loaded.settings.stores.pepper, data_dir)
    # Every key that is stored was digested with it: another one takes effect at a restart.
    pepper = decode_snapshot(previous.snapshot).pepper if previous else wanted_pepper
    try:
        check_bind(loaded.settings, False)
        no_key: tuple[tuple[str, str], ...] = ()
    except ConfigError as error:
        no_key = tuple(error.problems)
    snapshot = compile_snapshot(
        loaded.settings, kinds=kinds, generation=generation, pepper=pepper, data_dir=data_dir
    )
    table = compile_price_table(
        {provider.kind for provider in snapshot.providers}, loaded.settings.ledger.prices
    )
    snapshot = msgspec.structs.replace(snapshot, prices=encode_price_table(table))
    plan = Plan(
        generation=generation,
        file=None if loaded.path is None else str(loaded.path),
        snapshot=encode_snapshot(snapshot),
        config_keys=encode_keys(config_keys(loaded.settings, pepper)),
        no_key=no_key,
        host=server.host,
        port=server.port,
        tls=server.tls is not None,
        workers=_worker_count(server.workers),
        data_dir=str(data_dir),
        drain_s=server.drain_seconds.seconds,
        shutdown_delay_s=server.shutdown_delay.seconds,
        hang_timeout_s=server.hang_timeout.seconds,
        log_level=loaded.settings.logging.level,
        first_model=_first_model(snapshot.models, snapshot.providers),
        warnings=loaded.warnings if warning is None else (*loaded.warnings, warning),
        database=database_snapshot(loaded.settings.stores),
        page_listen=snapshot.metrics.listen,
        page_tls=snapshot.metrics.tls is not None,
    )
    if previous is None:
        return plan
    _check_page_stays(plan, previous)
    plan = _keep_fixed(plan, previous, str(server.data_dir))
    if wanted_pepper != pepper:
        plan = plan._replace(needs_restart=(*plan.needs_restart, "stores.pepper"))
    return plan


def _worker_count(setting: str | int) -> int:
    """`auto` is one worker for each core that we may use."""
    return len(os.sched_getaffinity(0)) if isinstance(setting, str) else setting


def _first_model(models: tuple[ModelSnapshot, ...], providers: tuple[ProviderSnapshot, ...]) -> str:
    """The demo model if it is there, as it needs neither network nor credential."""
    names = [model.name for model in models]
    if "demo" in names:
        return "demo"
    if any(provider.kind == "demo" for provider in providers):
        return "demo/demo"
    return names[0] if names else "MODEL"


def _check_page_stays(plan: Plan, previous: Plan) -> None:
    """Refuse to move the metrics page. Raises `ConfigError`.

    Not left for the restart, as other addresses are: who may read it goes with where it is, and
    `access: open`, meant for a listener of its own, would open the page on the data port.
    """
    reason = "cannot change while the gateway runs; restart it"
    if plan.page_listen != previous.page_listen:
        raise ConfigError([("metrics.listen", reason)])
    if plan.page_tls != previous.page_tls:
        raise ConfigError([("metrics.tls", reason)])


def _keep_fixed(plan: Plan, previous: Plan, wanted_data_dir: str) -> Plan:
    changed = [
        f"server.{name}"
        for name in ("host", "port", "tls", "workers", "hang_timeout_s")
        if getattr(plan, name) != getattr(previous, name)
    ]
    if wanted_data_dir != previous.data_dir:
        changed.append("server.data_dir")
    ledger, before = (decode_snapshot(part.snapshot).ledger for part in (plan, previous))
    changed += [
        f"ledger.{name}"
        for name in ("when_full", "max_journal_bytes", "keep_rows_days", "keep_sums_days")
        if getattr(ledger, name) != getattr(before, name)
    ]
    if plan.database != previous.database:
        changed.append("stores.database")
    return plan._replace(
        host=previous.host,
        port=previous.port,
        tls=previous.tls,
        workers=previous.workers,
        hang_timeout_s=previous.hang_timeout_s,
        database=previous.database,
        needs_restart=tuple(name.removesuffix("_s") for name in changed),
    )
