"""The address of a database as a setting: `sqlite`, or one of PostgreSQL."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from tidegate.config.secret import Secret, Sources, resolve

SQLITE = "sqlite"
_SCHEMES = ("postgresql", "postgres")
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})


class DatabaseUrl(Secret):
    """`sqlite`, or `postgresql://user@host:port/name`; shown without its password.

    Attributes:
        source: As of any secret; the address itself may be `env:NAME` or `file:PATH`.
    """

    __slots__ = ()

    @property
    def is_postgresql(self) -> bool:
        """Whether it is the address of a server."""
        return self.reveal() != SQLITE

    @property
    def has_password(self) -> bool:
        """Whether the address itself holds a password."""
        return self.is_postgresql and urlsplit(self.reveal()).password is not None

    @property
    def hosts(self) -> list[str]:
        """The host names of the server; none for a socket on this machine."""
        authority = urlsplit(self.reveal()).netloc.rpartition("@")[2]
        names = [part.rpartition(":")[0] or part for part in authority.split(",") if part]
        return [name for name in names if name]

    @property
    def is_encrypted(self) -> bool:
        """Whether the address asks for a connection that nobody can listen to."""
        query = dict(parse_qsl(urlsplit(self.reveal()).query))
        return query.get("sslmode") in _ENCRYPTED

    @override
    def __repr__(self) -> str:
        if not self.is_postgresql:
            return SQLITE
        parts = urlsplit(self.reveal())
        user, at, host = parts.netloc.rpartition("@")
        return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"

    @classmethod
    @override
    def __get_pydantic_core_schema__(
        cls, source_type: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(_from_setting)


def _from_setting(value: object, info: ValidationInfo) -> DatabaseUrl:
    if isinstance(value, DatabaseUrl):
        return value
    if not isinstance(value, str):
        raise ValueError("must be sqlite, or postgresql://user@host/name, or env: or file: of it")
    found = resolve(value, info.context)
    url = DatabaseUrl(_checked(found.reveal()), found.source)
    if url.has_password and url.source == "inline" and isinstance(info.context, Sources):
        info.context.inline.append(url)
    return url


def _checked(text: str) -> str:
    """Return *text* if it can be an address. No reason shows it: it may hold a password."""
    if text == SQLITE:
        return text
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not text.startswith(f"{parts.scheme}://"):
        raise ValueError("must be sqlite, or start with postgresql://")
    query = dict(parse_qsl(parts.query))
    if not parts.netloc and "host" not in query:
        raise ValueError("has no host: postgresql://user@host/name")
    if not parts.path.strip("/") or parts.path.count("/") != 1:
        raise ValueError("has no name of a database: postgresql://user@host/name")
    if parts.fragment or "password" in query:
        raise ValueError("must not hold a fragment, nor a password among its parameters")
    if "," not in parts.netloc:
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("has a port outside 1 to 65535") from None
    return text
