"""Types of settings that need more than Python's own: units, names, URLs, lists."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema, core_schema

from tidegate.config.units import Duration, parse_duration, parse_size

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,99}")
_MODEL = re.compile(r"[\x21-\x7e]{1,200}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*)"
)

#: Headers of a request that the gateway itself writes.
_OWN_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type"),
        *("expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)


def _duration_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(
        lambda value: value if isinstance(value, Duration) else parse_duration(value)
    )


class _DurationField:
    __get_pydantic_core_schema__ = staticmethod(_duration_schema)


def _to_tuple(value: object) -> object:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return tuple(value)


def check_name(value: object) -> str:
    """Return *value* when it can name a provider, limit, key or team.

    Raises:
        ValueError: It is empty, too long, or has characters that are awkward in a shell, a
            URL, a log or a label.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be a name: letters, digits, and _ . : @ + -, at most 100 characters")
    return value


def _model_name(value: object) -> str:
    if not isinstance(value, str) or not _MODEL.fullmatch(value):
        raise ValueError("must be a model name: visible ASCII, no blanks, at most 200 characters")
    return value


def _header_name(value: object) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise ValueError("is not a header name")
    if value.lower() in _OWN_HEADERS:
        raise ValueError("is written by the gateway and cannot be set")
    return value.lower()


def check_base_url(value: object) -> str:
    """Return *value* without a trailing slash when it is a plain http(s) URL.

    Raises:
        ValueError: Another scheme, a user name, query, fragment, escape, `..`, a host that
            is neither a DNS name nor an IP address, or a port outside 1 … 65535.
    """
    if not isinstance(value, str):
        raise ValueError("must be a URL such as https://api.example.com/v1")
    found = _URL.fullmatch(value)
    if found is None:
        raise ValueError(_url_fault(value))
    host, port = found["host"], found["port"]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError("has a host that is not an IPv6 address") from None
    elif re.fullmatch(r"[0-9.]+", host):
        # 2130706433 and 127.1 are addresses to some resolvers: only the plain form is taken.
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError("has a host that is not an IPv4 address") from None
    elif not _HOST.fullmatch(host):
        raise ValueError("has a host that is not a DNS name")
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    path = found["path"].rstrip("/")
    if any(part in ("", ".", "..") for part in path.split("/")[1:]):
        raise ValueError("must not have an empty part, . or .. in its path")
    authority = host.lower() + (f":{int(port)}" if port else "")
    return f"{found['scheme']}://{authority}{path}"


def _url_fault(value: str) -> str:
    # Never shows the value: a URL with a password in it may have been pasted here.
    if not value.startswith(("http://", "https://")):
        return "must start with http:// or https://"
    rest = value.split("//", 1)[1]
    if "@" in rest.split("/", 1)[0]:
        return "must not hold a user name or password; use api_key"
    if "?" in rest or "#" in rest:
        return "must not hold a query or fragment"
    return "must be a URL such as https://api.example.com/v1"


def is_token(text: str) -> bool:
    """Whether *text* can travel in a header as a credential: visible ASCII without blanks."""
    return all(0x21 <= ord(char) <= 0x7E for char in text)


def _port(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError("must be a port: 0 to 65535 (0 takes any free one)")
    return value


def _workers(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 256:
        raise ValueError("must be auto or a number from 1 to 256")
    return value


def _host(value: object) -> str:
    if isinstance(value, str):
        try:
            return str(ipaddress.ip_address(value.strip("[]")))
        except ValueError:
            if _HOST.fullmatch(value) and not re.fullmatch(r"[0-9.]+", value):
                return value
    raise ValueError("must be an IP address or a host name to listen on")


def _network(value: object) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be an IP address or a network such as 10.0.0.0/8") from None


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a path")
    return Path(value)


DurationSetting = Annotated[Duration, _DurationField()]
SizeSetting = Annotated[int, BeforeValidator(parse_size)]
Port = Annotated[int, BeforeValidator(_port)]
Workers = Annotated[str | int, BeforeValidator(_workers)]
Host = Annotated[str, BeforeValidator(_host)]
Name = Annotated[str, BeforeValidator(check_name)]
ModelName = Annotated[str, BeforeValidator(_model_name)]
HeaderName = Annotated[str, BeforeValidator(_header_name)]
BaseUrl = Annotated[str, BeforeValidator(check_base_url)]
PathSetting = Annotated[Path, BeforeValidator(_path), PlainSerializer(str)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_to_tuple)]
ModelNames = Annotated[tuple[ModelName, ...], BeforeValidator(_to_tuple)]
Networks = Annotated[
    tuple[Annotated[str, BeforeValidator(_network)], ...], BeforeValidator(_to_tuple)
]
as_tuple = BeforeValidator(_to_tuple)
