"""Where state is kept: an address that is right, and a password that nobody sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config.compile import compile_snapshot, database_snapshot
from tidegate.config.load import Loaded
from tidegate.config.outline import read_outline
from tidegate.config.pepper import PEPPER_BYTES, PEPPER_FILE, find_pepper
from tidegate.config.secret import Secret
from tidegate.config.snapshot import encode_snapshot
from tidegate.errors import ConfigError
from tidegate.providers.discover import providers_by_name

Load = Callable[..., Loaded]
Problems = Callable[..., dict[str, str]]

PASSWORD = "the-password-of-the-database"
PEPPER = "0123456789abcdef0123456789abcdef"


def test_sqlite_is_the_default(load: Load) -> None:
    """And needs no word in the file."""
    assert not load("{}").settings.stores.database.is_postgresql
    assert database_snapshot(load("stores: {database: sqlite}").settings.stores) is None


@pytest.mark.parametrize(
    ("text", "url", "password"),
    [
        ("{database: 'postgresql://u@h/d', password: env:P}", "postgresql://u@h/d", PASSWORD),
        ("{database: env:U}", f"postgresql://u:{PASSWORD}@h:5433/d?sslmode=require", None),
        ("{database: 'postgres:///d?host=/run/pg'}", "postgres:///d?host=/run/pg", None),
        ("{database: 'postgresql://u@h1:1,h2:2/d'}", "postgresql://u@h1:1,h2:2/d", None),
    ],
)
def test_an_address_and_its_password_reach_control(
    load: Load, text: str, url: str, password: str | None
) -> None:
    """By reference, as a whole or apart."""
    loaded = load(
        f"stores: {text}", P=PASSWORD, U=f"postgresql://u:{PASSWORD}@h:5433/d?sslmode=require"
    )
    found = database_snapshot(loaded.settings.stores)
    assert found is not None
    assert (found.url, found.password) == (url, password)
    assert PASSWORD not in repr(loaded.settings) + repr(found) + str(loaded.warnings)


def test_no_worker_gets_the_address_or_the_password(load: Load) -> None:
    """The snapshot that workers are sent has neither."""
    settings = load(
        "stores: {database: 'postgresql://u@h/d', password: env:P}", P=PASSWORD
    ).settings
    packed = encode_snapshot(
        compile_snapshot(
            settings, kinds=providers_by_name(), generation=1, pepper=b"", data_dir=Path()
        )
    )
    assert PASSWORD.encode() not in packed
    assert b"postgresql" not in packed


@pytest.mark.parametrize(
    ("stores", "path", "reason"),
    [
        ("{database: mysql}", "database", "must be sqlite, or start with postgresql://"),
        ("{database: 'mysql://h/d'}", "database", "must be sqlite, or start with postgresql://"),
        ("{database: 5}", "database", "must be sqlite, or postgresql://user@host/name"),
        ("{database: 'postgresql:///d'}", "database", "has no host"),
        ("{database: 'postgresql://u:secret-word@h'}", "database", "has no name of a database"),
        ("{database: 'postgresql://u:secret-word@h:x/d'}", "database", "has a port outside"),
        ("{database: 'postgresql://h/d?password=secret-word'}", "database", "must not hold"),
        ("{database: env:NOWHERE}", "database", "environment variable NOWHERE is not set"),
        ("{password: secret-word}", "password", "sqlite takes none"),
        (
            "{database: 'postgresql://u:secret-word@h/d', password: x}",
            "password",
            "stands in the address already",
        ),
        ("{pepper: secret-word}", "pepper", "must be at least 32 random characters"),
    ],
)
def test_what_cannot_be_used_is_told_without_showing_it(
    problems: Problems, stores: str, path: str, reason: str
) -> None:
    """By its path; an address may hold a password."""
    found = problems(f"stores: {stores}")
    assert found[f"stores.{path}"].startswith(reason)
    assert "secret-word" not in str(found)


def test_risks_of_a_database_are_warned_about(load: Load) -> None:
    """A password in the file, and digests that travel where anybody may read them."""
    warnings = load(f"stores: {{database: 'postgresql://u:{PASSWORD}@db.example.com/d'}}").warnings
    assert any("stores.database is written in the file" in warning for warning in warnings)
    assert any("unencrypted to db.example.com" in warning for warning in warnings)
    safe = "stores: {database: 'postgresql://u@db.example.com/d?sslmode=verify-full'}"
    assert load(safe).warnings == ()
    assert load("stores: {database: 'postgresql://u@127.0.0.1/d'}").warnings == ()


def test_a_configured_pepper_is_the_same_everywhere(tmp_path: Path) -> None:
    """Whatever its length; without one each data directory has its own."""
    setting = Secret(PEPPER, "env:PEPPER")
    one, two = (find_pepper(setting, tmp_path / name)[0] for name in "ab")
    assert one == two
    assert len(one) == PEPPER_BYTES
    assert not (tmp_path / "a" / PEPPER_FILE).exists()
    assert find_pepper(None, tmp_path / "a")[0] != find_pepper(None, tmp_path / "b")[0]
    assert find_pepper(Secret(PEPPER + "x"), tmp_path / "a")[0] != one


def test_commands_need_only_the_secrets_of_the_stores(tmp_path: Path) -> None:
    """Whoever makes a key may not have the environment that the gateway runs in."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "providers: {openai: {api_key: env:NOT_HERE}}\n"
        "stores: {database: 'postgresql://u@h/d', password: 'file:pw'}\n"
    )
    (tmp_path / "pw").write_text(PASSWORD + "\n")
    outline = read_outline(file, {}, tmp_path / "elsewhere", kinds=providers_by_name())
    password = outline.stores({}).password
    assert password is not None
    assert password.reveal() == PASSWORD
    (tmp_path / "pw").unlink()
    with pytest.raises(ConfigError) as caught:
        outline.stores({})
    assert [path for path, _ in caught.value.problems] == ["stores.password"]
