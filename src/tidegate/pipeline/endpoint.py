"""What an endpoint is to the pipeline, and the table that finds one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.dialects.dialect import Dialect

if TYPE_CHECKING:
    from tidegate.pipeline.call import Call
    from tidegate.pipeline.gateway import Gateway
    from tidegate.pipeline.operation import Operation


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path.

    Attributes:
        name: Metric label, such as `chat_completions`.
        method: Upper-case bytes. GET endpoints answer HEAD too.
        path: Whole path; with `takes_name`, what follows it and a `/` is the name.
        dialect: How errors and limits look here.
        run: Serves a call; raises `GatewayError` to refuse it.
        operation: What is asked of a model; None for endpoints that ask none.
        streams: Whether the request may ask for an event stream.
        takes_name: Whether the path goes on with a name (which may hold slashes).
        plain: Whether all that `run` does can be done by `turn` as well: one question to a model,
            in a body of JSON that names it.
        counted: Whether it is part of the request metrics (the page and health are not).
    """

    name: str
    method: bytes
    path: bytes
    dialect: Dialect
    run: Callable[[Gateway, Call], Awaitable[None]]
    operation: Operation | None = None
    streams: bool = False
    takes_name: bool = False
    plain: bool = False
    counted: bool = True


class RouteTable:
    """Finds the endpoint of a method and path; one dict look-up for all but named paths.

    Attributes:
        otherwise: What serves a path that no endpoint has; None where nothing does.
    """

    def __init__(self, endpoints: Iterable[Endpoint], otherwise: Endpoint | None = None) -> None:
        self.otherwise = otherwise
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

    def find(self, method: bytes, path: bytes) -> tuple[Endpoint | None, bytes]:
        """Return the endpoint, or None, and the name behind its path. See also `methods`."""
        methods = self._exact.get(path)
        if methods is not None:
            return methods.get(method), b""
        methods, tail = self._methods_of(path)
        return (None if methods is None else methods.get(method)), tail

    def methods(self, path: bytes) -> bytes:
        """Return the methods that *path* takes, `b"GET, HEAD"`; empty for an unknown path."""
        methods = self._exact.get(path) or self._methods_of(path)[0]
        return b"" if methods is None else b", ".join(sorted(methods))

    def _methods_of(self, path: bytes) -> tuple[dict[bytes, Endpoint] | None, bytes]:
        if len(path) > 1 and path.endswith(b"/"):
            methods = self._exact.get(path[:-1])
            if methods is not None:
                return methods, b""
        for prefix, named in self._named:
            if path.startswith(prefix) and len(path) > len(prefix):
                return named, path[len(prefix) :]
        return None, b""
