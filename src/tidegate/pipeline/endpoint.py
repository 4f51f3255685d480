"""What an endpoint is to the pipeline, and the table that finds one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.dialects.dialect import Dialect

if TYPE_CHECKING:
    from tidegate.pipeline.call import Call
    from tidegate.pipeline.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path.

    Attributes:
        name: Metric label, such as `chat_completions`.
        method: Upper-case bytes. GET endpoints answer HEAD too.
        path: Whole path; with `takes_name`, what follows it and a `/` is the name.
        dialect: How errors and limits look here.
        run: Serves a call; raises `GatewayError` to refuse it.
        upstream_path: Path below a provider's base URL, for endpoints that call a model.
        streams: Whether the request may ask for an event stream.
        takes_name: Whether the path goes on with a name (which may hold slashes).
        counted: Whether it is part of the request metrics (the page and health are not).
    """

    name: str
    method: bytes
    path: bytes
    dialect: Dialect
    run: Callable[[Gateway, Call], Awaitable[None]]
    upstream_path: bytes = b""
    streams: bool = False
    takes_name: bool = False
    counted: bool = True


class RouteTable:
    """Finds the endpoint of a method and path; one dict look-up for all but named paths."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._exact: dict[bytes, dict[bytes, Endpoint]] = {}
        self._named: list[tuple[bytes, dict[bytes, Endpoint]]] = []
        for endpoint in endpoints:
            methods = self._methods_at(endpoint)
            if endpoint.method in methods:
                raise ValueError(f"two endpoints at {endpoint.method!r} {endpoint.path!r}")
            methods[endpoint.method] = endpoint
            if endpoint.method == b"GET":
                methods[b"HEAD"] = endpoint

    def _methods_at(self, endpoint: Endpoint) -> dict[bytes, Endpoint]:
        if not endpoint.takes_name:
            return self._exact.setdefault(endpoint.path, {})
        prefix = endpoint.path + b"/"
        for known, methods in self._named:
            if known == prefix:
                return methods
        methods = {}
        self._named.append((prefix, methods))
        return methods

    def find(self, method: bytes, path: bytes) -> tuple[Endpoint | None, bytes, bytes]:
        """Return `(endpoint, tail, allow)`.

        `endpoint` is None for an unknown path (`allow` empty) or a method that the path does
        not take (`allow` lists those it does). A trailing slash is forgiven.
        """
        methods = self._exact.get(path)
        tail = b""
        if methods is None and len(path) > 1 and path.endswith(b"/"):
            methods = self._exact.get(path[:-1])
        if methods is None:
            for prefix, named in self._named:
                if path.startswith(prefix) and len(path) > len(prefix):
                    methods, tail = named, path[len(prefix) :]
                    break
        if methods is None:
            return None, b"", b""
        return methods.get(method), tail, b", ".join(sorted(methods))
