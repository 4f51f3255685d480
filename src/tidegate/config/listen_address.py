"""`host:port` of a further listener, as one setting."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from tidegate.config.field_types import Host

_HOST: TypeAdapter[str] = TypeAdapter(Host)


def split_listen(text: str) -> tuple[str, int]:
    """Return host (an IPv6 one without brackets) and port of `host:port`.

    Raises:
        ValueError: It is not that, or the port is above 65535.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:9464 or [::1]:9464")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            raise ValueError("has no IPv6 address in its brackets") from None
    if ":" in host:
        raise ValueError("needs brackets around an IPv6 address: [::1]:9464")
    try:
        return _HOST.validate_python(host), int(port)
    except ValidationError:
        raise ValueError("must begin with an IP address or a host name to listen on") from None


def _listen(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be host:port, such as 127.0.0.1:9464 or [::1]:9464")
    host, port = split_listen(value)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


ListenAddress = Annotated[str, BeforeValidator(_listen)]
