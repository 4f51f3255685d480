"""What the commands print, where, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate import __version__
from tidegate.config.digest import key_digest
from tidegate.config.pepper import load_or_create_pepper
from tidegate.stores.database import open_database
from tidegate.stores.keys import KeyStore

Run = Callable[..., subprocess.CompletedProcess[str]]

SECRET = re.compile(r"tg-[A-Za-z0-9]{43}\n")
GOLDEN = Path(__file__).with_name("golden_help.txt")

CONFIG = """
server: {data_dir: state}
providers: {acme: {kind: openai-compatible, base_url: "http://127.0.0.1:9/v1", api_key: env:NOT}}
models: {fast: {targets: [acme/x]}}
limits: {per-key: {requests: 60, window: 1m}}
keys: {ci: {secret: env:NOT_SET}}
"""


def test_help_is_as_agreed(tidegate: Run) -> None:
    """Scripts and documents depend on it. Refresh: delete the file, run, look, commit."""
    pages = []
    for words in ([], ["check"], ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "revoke"],
                  ["providers"], ["top"]):  # fmt: skip
        result = tidegate(*words, "--help")
        assert (result.returncode, result.stderr) == (0, "")
        pages.append(result.stdout)
    shown = "\n".join(pages)
    if not GOLDEN.exists():
        GOLDEN.write_text(shown)
        pytest.fail("golden_help.txt was written; look at it and run again")
    assert shown == GOLDEN.read_text()


def test_the_version_is_told(tidegate: Run) -> None:
    """On one line, with exit 0."""
    result = tidegate("--version")
    assert (result.returncode, result.stdout) == (0, f"tidegate {__version__}\n")


def test_help_loads_nothing_heavy() -> None:
    """A command's own needs are loaded when it runs."""
    code = (
        "import sys, tidegate.cli.main\n"
        "heavy = {'sqlalchemy', 'alembic', 'rich', 'pydantic', 'yaml', 'uvloop', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stdout == "[]\n"


def test_check_sums_a_good_file_up(tidegate: Run, tmp_path: Path) -> None:
    """One line, exit 0."""
    (tmp_path / "a.yaml").write_text(CONFIG)
    result = tidegate("check", "--config", "a.yaml", NOT="k", NOT_SET="s" * 30)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (f"{tmp_path / 'a.yaml'}: ok (1 provider, 1 model, 1 limit, 1 key)\n")
    assert not (tmp_path / "state").exists(), "check must not leave anything behind"


def test_check_tells_each_problem_on_a_line(tidegate: Run, tmp_path: Path) -> None:
    """`path: reason` on standard error below the file's name, exit 1, no traceback."""
    (tmp_path / "tidegate.yaml").write_text(CONFIG + "bogus: 1\n")
    result = tidegate("check")
    assert (result.returncode, result.stdout) == (1, "")
    heading, *lines = result.stderr.splitlines()
    assert heading == f"{tmp_path / 'tidegate.yaml'}:"
    assert lines == [
        "providers.acme.api_key: environment variable NOT is not set (line 3)",
        "keys.ci.secret: environment variable NOT_SET is not set (line 6)",
        "bogus: unknown field; there is default_limits, files, keys, ledger, limits, logging, "
        "metrics, models, providers, responses, routing, server, stores, tracing (line 7)",
    ]


def test_serve_names_the_file_of_each_problem_in_it(tidegate: Run, tmp_path: Path) -> None:
    """Which file was read is often what is wrong; a variable or an option is no part of it."""
    path = tmp_path / "tidegate.yaml"
    path.write_text("server: {port: 1}\nbogus: 1\n")
    result = tidegate("serve", TIDEGATE_WORKERS="0")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "tidegate: the configuration cannot be used"
    problems = result.stderr.splitlines()[1:]
    assert any(line.startswith(f"  {path}: bogus: unknown field") for line in problems)
    path.write_text("a: 1\na: 2\n")
    result = tidegate("serve")
    assert f"  {path}: a: is given twice, first on line 1 (line 2)" in result.stderr
    path.unlink()
    result = tidegate("serve", "--port", "100000")
    assert "  server.port: " in result.stderr
    assert str(path) not in result.stderr


def test_other_commands_name_the_file_too(tidegate: Run, tmp_path: Path) -> None:
    """They read the same one."""
    (tmp_path / "tidegate.yaml").write_text("a: 1\na: 2\n")
    result = tidegate("keys", "list")
    assert result.returncode == 1
    assert result.stderr == (
        f"{tmp_path / 'tidegate.yaml'}: a: is given twice, first on line 1 (line 2)\n"
    )


def test_check_of_a_missing_file_says_so(tidegate: Run, tmp_path: Path) -> None:
    """With its whole path: often the folder is what is wrong."""
    result = tidegate("check", "--config", "nope.yaml")
    assert result.returncode == 1
    assert result.stderr == f"{tmp_path / 'nope.yaml'}: cannot be read: No such file or directory\n"


def test_check_warns_of_a_public_address_without_a_key(tidegate: Run, tmp_path: Path) -> None:
    """`serve` will refuse it as long as the store has no key either."""
    (tmp_path / "tidegate.yaml").write_text("server: {host: 0.0.0.0}")
    result = tidegate("check")
    assert result.returncode == 0
    assert result.stderr.startswith("warning: 0.0.0.0 can be reached from other machines")


def test_create_prints_only_the_secret(tidegate: Run, tmp_path: Path) -> None:
    """`KEY=$(tidegate keys create --name x)` just works; the rest goes to standard error."""
    result = tidegate("keys", "create", "--name", "ci", "--data-dir", "d")
    assert result.returncode == 0
    assert SECRET.fullmatch(result.stdout)
    assert result.stdout.strip() not in result.stderr
    pepper, _ = load_or_create_pepper(tmp_path / "d")
    database = open_database(tmp_path / "d")
    (key,) = KeyStore(database, pepper).all_active(now_ms=0)
    database.close()
    assert key.digest == key_digest(pepper, result.stdout.strip())


def test_create_needs_no_secret_of_the_gateway(tidegate: Run, tmp_path: Path) -> None:
    """The shell of the operator often has not the environment of the service."""
    (tmp_path / "a.yaml").write_text(CONFIG)
    options = ("--name", "x", "--limit", "per-key", "--model", "fast", "--model", "acme/any")
    result = tidegate("keys", "create", "--config", "a.yaml", *options, "--team", "t")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "state" / "tidegate.db").exists()
    listed = json.loads(tidegate("keys", "list", "--config", "a.yaml", "--json").stdout)
    assert listed[0]["limits"] == ["per-key"]
    assert listed[0]["models"] == ["fast", "acme/any"]
    assert listed[0]["state"] == "active"
    assert listed[1] == {"id": "cfg_ci", "name": "ci", "source": "configuration"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--name", "x", "--limit", "per-kye"], '--limit: unknown limit "per-kye"; did you mean'),
        (["--name", "x", "--model", "fats"], '--model: unknown model "fats"'),
        (["--name", "a b"], "--name: must be a name"),
        (["--name", "x", "--team", "\x1b[31m"], "--team: must be a name"),
        (["--name", "x", "--expires", "soon"], "--expires: must be such as 30d, 12h, 2027-01-31"),
        (["--name", "x", "--expires", "2001-01-31"], "--expires: lies in the past"),
        (["--name", "x", "--expires", "0s"], "--expires: lies in the past"),
    ],
)  # fmt: skip
def test_create_refuses_slips_before_it_makes_anything(
    tidegate: Run, tmp_path: Path, options: list[str], line: str
) -> None:
    """A key with a misspelt limit would be refused by the gateway, at the worst time."""
    (tmp_path / "tidegate.yaml").write_text(CONFIG)
    result = tidegate("keys", "create", *options)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(line)
    assert not (tmp_path / "state").exists()


def test_without_a_file_names_are_taken_with_a_word_of_warning(tidegate: Run) -> None:
    """The file may be on another machine."""
    result = tidegate("keys", "create", "--name", "x", "--limit", "there", "--data-dir", "d")
    assert result.returncode == 0
    assert result.stderr.startswith("No configuration file is known here")


def test_expiry_may_be_a_length_or_a_day(tidegate: Run) -> None:
    """A length counts from now, a day is UTC."""
    tidegate("keys", "create", "--name", "day", "--expires", "2099-01-31", "--data-dir", "d")
    tidegate("keys", "create", "--name", "length", "--expires", "30d", "--data-dir", "d")
    day, length = json.loads(tidegate("keys", "list", "--data-dir", "d", "--json").stdout)
    assert day["expires_at_ms"] == 4_073_500_800_000
    assert length["expires_at_ms"] - length["created_at_ms"] == 30 * 86_400_000


def test_a_revoked_key_is_listed_as_such(tidegate: Run) -> None:
    """And can be revoked by name or by id, once."""
    tidegate("keys", "create", "--name", "ci", "--data-dir", "d")
    assert tidegate("keys", "revoke", "ci", "--data-dir", "d").stdout.startswith("Revoked key ci (")
    again = tidegate("keys", "revoke", "ci", "--data-dir", "d")
    assert (again.returncode, "revoked already" in again.stderr) == (1, True)
    table = tidegate("keys", "list", "--data-dir", "d").stdout.splitlines()
    assert table[0].split()[:3] == ["NAME", "ID", "STATE"]
    assert table[1].split()[::2][:2] == ["ci", "revoked"]


def test_a_key_of_the_file_is_revoked_in_the_file(tidegate: Run, tmp_path: Path) -> None:
    """The message says where."""
    (tmp_path / "tidegate.yaml").write_text(CONFIG)
    result = tidegate("keys", "revoke", "cfg_ci")
    assert result.returncode == 1
    assert result.stderr == f"cfg_ci stands in {tmp_path / 'tidegate.yaml'}: remove it there\n"


def test_looking_makes_no_database(tidegate: Run, tmp_path: Path) -> None:
    """A wrong folder must not look like an empty store afterwards."""
    listed = tidegate("keys", "list", "--data-dir", "d")
    revoked = tidegate("keys", "revoke", "x", "--data-dir", "d")
    assert (listed.returncode, revoked.returncode) == (0, 1)
    assert "no key database" in revoked.stderr
    assert not (tmp_path / "d").exists()


def test_a_name_in_use_is_told(tidegate: Run) -> None:
    """With the two ways out."""
    tidegate("keys", "create", "--name", "ci", "--data-dir", "d")
    result = tidegate("keys", "create", "--name", "ci", "--data-dir", "d")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == ("there is a key named 'ci'; revoke it first, or take another name\n")


def test_a_folder_that_cannot_be_used_is_told(tidegate: Run, tmp_path: Path) -> None:
    """By the setting, without a traceback."""
    (tmp_path / "file").write_text("")
    result = tidegate("keys", "create", "--name", "x", "--data-dir", "file/d")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("server.data_dir: cannot make")


def test_providers_are_listed(tidegate: Run) -> None:
    """As columns for people, as JSON for programs."""
    lines = tidegate("providers").stdout.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "DIALECTS", "BASE", "URL", "KEY", "FROM", "CHECKED"]
    assert any(line.startswith("openai ") and "OPENAI_API_KEY" in line for line in lines)
    rows = json.loads(tidegate("providers", "--json").stdout)
    assert len(rows) == len(lines) - 1
    assert {"name", "base_url", "env_key", "capabilities", "dialects", "quirks"} <= set(rows[0])
    # What nobody has checked is called so, for people and for programs.
    unverified = [line.split()[0] for line in lines if line.endswith(" unverified")]
    assert unverified == [row["name"] for row in rows if row["checked_on"] is None]
    assert "hyperbolic" in unverified


def test_unknown_commands_are_usage_errors(tidegate: Run) -> None:
    """Exit 2, as every command-line program does."""
    assert tidegate("sreve").returncode == 2
