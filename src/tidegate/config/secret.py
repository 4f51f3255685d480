"""Secrets and the references that name them: `env:NAME`, `file:PATH`."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

_MAX_FILE_BYTES = 64 * 1024


class Secret:
    """A text that never shows itself: `repr` and `str` are `***`.

    Attributes:
        source: Where it came from (`env:NAME`, `file:PATH`, `inline`), for messages.
    """

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "inline") -> None:
        self._text = text
        self.source = source

    def reveal(self) -> str:
        """Return the text itself. Only for where it is sent or digested."""
        return self._text

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    @override
    def __hash__(self) -> int:
        return hash(self._text)

    @override
    def __repr__(self) -> str:
        return "***"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source_type: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(_secret_from_setting)


@dataclass(slots=True)
class Sources:
    """Where references are looked up; handed to pydantic as the validation context.

    Attributes:
        env: The environment.
        base_dir: Folder that relative paths start from.
        inline: Filled with the source-less secrets met, so that the loader can warn.
    """

    env: Mapping[str, str]
    base_dir: Path
    inline: list[Secret] = field(default_factory=list)


class Text(Secret):
    """A header value: plain text, or a reference as `Secret` takes it (and as hidden)."""

    __slots__ = ()

    @classmethod
    @override
    def __get_pydantic_core_schema__(
        cls, source_type: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(_text_from_setting)


def _secret_from_setting(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    secret = resolve(value, info.context)
    if secret.source == "inline" and isinstance(info.context, Sources):
        info.context.inline.append(secret)
    return secret


def _text_from_setting(value: object, info: ValidationInfo) -> Text:
    if isinstance(value, Text):
        return value
    secret = resolve(value, info.context)
    return Text(secret.reveal(), secret.source)


def resolve(value: object, sources: Sources | None) -> Secret:
    """Return the secret that a setting's *value* names.

    Raises:
        ValueError: Not text, empty, or the variable or file it names cannot be read.
    """
    if not isinstance(value, str):
        raise ValueError("must be text: env:NAME, file:PATH, or the secret in quotes")
    scheme, _, name = value.partition(":")
    if scheme not in ("env", "file"):
        text, source = value, "inline"
    elif sources is None:
        raise ValueError("a reference can only be read while a configuration is loaded")
    elif scheme == "env":
        text, source = _from_environment(name, sources.env), value
    else:
        text, source = _from_file(name, sources.base_dir), value
    if not text:
        raise ValueError("must not be empty" if source == "inline" else f"{source} is empty")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise ValueError("must be one line without control characters")
    return Secret(text, source)


def _from_environment(name: str, env: Mapping[str, str]) -> str:
    text = env.get(name)
    if text is None:
        raise ValueError(f"environment variable {name} is not set")
    return text


def _from_file(name: str, base_dir: Path) -> str:
    path = base_dir / Path(name).expanduser()
    try:
        # O_NONBLOCK: opening a FIFO must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{path} is not a regular file")
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_MAX_FILE_BYTES // 1024} KiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
