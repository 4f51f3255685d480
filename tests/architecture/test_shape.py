"""The shape of the code: sizes, names, imports. The exceptions may only become fewer."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tidegate"
SOURCES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_FILE_LINES = 500
MAX_TEST_FILE_LINES = 850
MAX_FUNCTION_LINES = 80
MAX_CLASS_LINES = 300

LONG_FILES = {
    "edge/connection.py": (640, "one state machine of one connection; its parts are in head, body"),
}
LONG_CLASSES = {
    "edge/connection.py: Connection": (560, "the states of one connection share all its fields"),
    "ledger/fold.py: Folder": (330, "one batch from journals to rows, and what may fail in it"),
    "upstream/connection.py: Connection": (360, "the states of one upstream connection"),
    "workers/supervisor.py: Supervisor": (440, "hears every event of the instance, and delegates"),
}

IMPORTS_IN_FUNCTIONS = {
    "config/load.py": "ssl costs 10 ms, and most gateways have TLS ended in front",
    "control/admin/service.py": "the live view, only with a control port; its server at a visit",
    "ledger/catalogue.py": "YAML, only for a gateway that overrides prices",
    "providers/aws_signer.py": "botocore is an extra",
    "providers/discover.py": "only an installation with plug-ins asks for them",
    "providers/google_signer.py": "google-auth is an extra",
    "stores/database.py": "alembic, only when the schema is not the newest",
    "stores/postgres.py": "alembic, only when the schema is not the newest",
    "stores/opening.py": "PostgreSQL, only for who has it: its dialect costs 60 ms",
    "stores/postgres_link.py": "asyncpg is an extra",
    "tracing/push.py": "protobuf is an extra",
    "tracing/worker.py": "protobuf is an extra, and 6 MB a worker",
    "workers/plan.py": "pydantic and YAML, while the children already import theirs",
    "workers/preflight.py": "it tries whether the installed version can be imported at all",
    "workers/signing.py": "a signer, only for providers that want one: its libraries cost 20 ms",
    "workers/worker.py": "the data plane, while the supervisor reads the configuration",
}
"""File → why it waits. Commands (`cli/`) all do: `--help` needs none of what they run."""

VAGUE_NAMES = {"base", "common", "core", "helper", "helpers", "manager", "misc", "util", "utils"}

PARTS_OF_OTHERS = {"pydantic_core"}
"""Modules that come with a declared package, in exactly the version that it needs."""

READERS_OF_ENVIRONMENT = {"cli", "config", "workers"}


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


def _lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in _nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_stay_readable() -> None:
    """Who opens a file can hold it in mind."""
    long = {}
    for path in SOURCES:
        lines = path.read_text().count("\n")
        if lines > LONG_FILES.get(_name(path), (MAX_FILE_LINES, ""))[0]:
            long[_name(path)] = lines
    for path in TESTS:
        lines = path.read_text().count("\n")
        if lines > MAX_TEST_FILE_LINES:
            long[str(path.relative_to(ROOT))] = lines
    assert not long


def test_functions_fit_a_screen() -> None:
    """A function that does not is two functions."""
    long = {
        f"{_name(path)}: {function.name}": _lines(function)
        for path in SOURCES
        for function in _functions(path)
        if _lines(function) > MAX_FUNCTION_LINES
    }
    assert not long


def test_classes_hold_one_idea() -> None:
    """A class that grows beyond its limit has found a second idea."""
    long = {}
    for path in SOURCES:
        for node in _nodes(path):
            if isinstance(node, ast.ClassDef):
                place = f"{_name(path)}: {node.name}"
                if _lines(node) > LONG_CLASSES.get(place, (MAX_CLASS_LINES, ""))[0]:
                    long[place] = _lines(node)
    assert not long


def test_exceptions_are_still_needed() -> None:
    """An exception that nothing needs any more is taken out."""
    sizes = {_name(path): path.read_text().count("\n") for path in SOURCES}
    classes = {
        f"{_name(path)}: {node.name}": _lines(node)
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.ClassDef)
    }
    idle = [name for name in LONG_FILES if sizes.get(name, 0) <= MAX_FILE_LINES]
    idle += [name for name in LONG_CLASSES if classes.get(name, 0) <= MAX_CLASS_LINES]
    idle += [name for name in IMPORTS_IN_FUNCTIONS if name not in _files_with_late_imports()]
    assert not idle


def test_names_say_what_is_inside() -> None:
    """A module called `utils` is where ideas go to be lost."""
    vague = [
        _name(path)
        for path in SOURCES
        if VAGUE_NAMES & set(re.split(r"[_/.]", _name(path).removesuffix(".py")))
    ]
    assert not vague


def _files_with_late_imports() -> set[str]:
    return {
        _name(path)
        for path in SOURCES
        for function in _functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def test_imports_stand_at_the_top() -> None:
    """A late import hides a dependency; the few that save time say how."""
    late = {name for name in _files_with_late_imports() if not name.startswith("cli/")}
    assert late <= set(IMPORTS_IN_FUNCTIONS)


def test_the_environment_is_read_in_few_places() -> None:
    """Everything else is told its settings, so that a test can tell it others."""
    readers = {
        _name(path)
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert {name for name in readers if name.split("/")[0] not in READERS_OF_ENVIRONMENT} == set()


def _imported_packages(declared: set[str]) -> set[str]:
    """Return the distributions, other than the standard library, that the package imports.

    Several may share a name (`opentelemetry`): the declared one is then meant.
    """
    modules = set()
    for path in SOURCES:
        for node in _nodes(path):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    distributions = packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"tidegate", *PARTS_OF_OTHERS}
    owners = [
        # An extra need not be installed here; it then counts by its own name.
        [name.lower().replace("_", "-") for name in distributions.get(module, [module])]
        for module in foreign
    ]
    return {next((name for name in names if name in declared), names[0]) for names in owners}


@pytest.fixture
def declared() -> set[str]:
    """Names of the dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[<>=!~;\[ ]", entry)[0].lower() for entry in project["dependencies"]}


def test_dependencies_are_those_that_are_imported(declared: set[str]) -> None:
    """Nothing is installed for nothing, and nothing is used that only happens to be there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        re.split(r"[<>=!~;\[ ]", entry)[0].lower()
        for entries in project.get("optional-dependencies", {}).values()
        for entry in entries
    }
    assert _imported_packages(declared | extras) == declared | extras


def test_every_dependency_says_what_it_buys(declared: set[str]) -> None:
    """The record of dependencies has a line for each."""
    record = (ROOT / "docs/decisions/0001-dependencies.md").read_text().partition("Considered")[0]
    rows = {row.lower() for row in re.findall(r"^\| ([\w-]+) \|", record, re.M)}
    assert declared <= rows


def test_lock_files_name_no_place() -> None:
    """Where packages are fetched from is the business of each machine."""
    frameworks = "tests/cross/frameworks/requirements.lock"
    for name in ("requirements.lock", "requirements-dev.lock", frameworks):
        text = (ROOT / name).read_text()
        assert not re.search(r"://|^-|\s/|file:", text, re.M), name
        assert text.count("==") <= text.count("--hash=sha256:")


def test_locked_versions_are_those_that_run(declared: set[str]) -> None:
    """Both lock files hold every dependency, in the same version."""
    versions = []
    for name in ("requirements.lock", "requirements-dev.lock"):
        found = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.M))
        assert declared <= set(found), name
        versions.append({package: found[package] for package in declared})
    assert versions[0] == versions[1]
