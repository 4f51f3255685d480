"""A YAML file as plain data, read strictly, with the line of every setting.

Strict means: YAML 1.2 scalars (`yes`, `on`, `012` and `1:30` are text or decimal, never
a surprise), no key twice, names are text, a bounded size, nothing but one document.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tidegate.config.setting_path import SettingPath, show_path
from tidegate.errors import ConfigError

MAX_FILE_BYTES = 1024 * 1024
_MAX_NODES = 200_000
_MAX_DEPTH = 64

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if text.startswith(("0x", "0o")):
        return int(text[2:], 16 if text[1] == "x" else 8)
    return int(text, 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says.

    Attributes:
        data: The top-level mapping; empty for an empty file.
        lines: Path of a setting → line of its name, from 1.
    """

    data: dict[str, Any]
    lines: dict[SettingPath, int]


def read_document(path: Path) -> Document:
    """Read the file at *path*.

    Raises:
        ConfigError: It cannot be read, is over 1 MiB, or is not strict YAML; every
            duplicate or odd name is told, not only the first.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError([(str(path), "is not a regular file")])
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([(str(path), f"cannot be read: {error.strerror}")]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([(str(path), "is larger than 1 MiB")])
    return parse_document(data, str(path))


def parse_document(data: bytes, name: str) -> Document:
    """Parse YAML bytes; *name* stands in errors about the file as a whole.

    Raises:
        ConfigError: As `read_document`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError([(name, f"is not UTF-8 text (byte {error.start})")]) from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document({}, {})
        walk = _Walk()
        walk.visit(node, (), 1)
        if walk.problems:
            raise ConfigError(walk.problems, name)
        content = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError([(name, _yaml_reason(error))]) from None
    except (RecursionError, ValueError) as error:
        # ValueError: an integer of thousands of digits.
        raise ConfigError([(name, f"cannot be read as YAML: {error}")]) from None
    finally:
        loader.dispose()
    if content is None:
        return Document({}, {})
    if not isinstance(content, dict):
        raise ConfigError([(name, "must be a mapping of sections such as `server:`")])
    return Document(content, walk.lines)


class _Walk:
    """Looks at the node graph before any value is built from it."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.lines: dict[SettingPath, int] = {}
        self._nodes = 0

    def visit(self, node: yaml.Node, path: SettingPath, depth: int) -> None:
        """Check *node* and all below; aliases count each time, so a bomb of them is seen."""
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise yaml.constructor.ConstructorError(
                None, None, "too many or too deeply nested values", node.start_mark
            )
        if isinstance(node, yaml.MappingNode):
            self._visit_mapping(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.lines.setdefault((*path, index), item.start_mark.line + 1)
                self.visit(item, (*path, index), depth + 1)

    def _visit_mapping(self, node: yaml.MappingNode, path: SettingPath, depth: int) -> None:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.visit(value_node, path, depth + 1)
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "…"
                self._problem((*path, shown), f'names are text: write "{shown}"', line)
                continue
            name = key_node.value
            if name in seen:
                self._problem((*path, name), f"is given twice, first on line {seen[name]}", line)
                continue
            seen[name] = line
            self.lines[(*path, name)] = line
            self.visit(value_node, (*path, name), depth + 1)

    def _problem(self, path: SettingPath, reason: str, line: int) -> None:
        self.problems.append((show_path(path), f"{reason} (line {line})"))


def _yaml_reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = error.problem or "cannot be read"
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return "is not YAML: " + " ".join(str(error).split())
