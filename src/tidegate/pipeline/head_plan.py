"""What the pipeline works out from a request's head, kept for the next equal head.

Clients send the same head with every request, but for the length of the body. The edge gives
all requests with equal heads one `HeadMemo`; the pipeline hangs this on it. Nothing in it
grants anything by itself: the key is looked up again when the table of keys has changed, and
its expiry is checked at each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.pipeline.forward import ALWAYS, TRACE, lines_to_upstream

if TYPE_CHECKING:
    from tidegate.edge.exchange import Exchange
    from tidegate.keys.principal import Principal
    from tidegate.pipeline.endpoint import Endpoint, RouteTable
    from tidegate.pipeline.lane import Lane
    from tidegate.routing.target import Target


class HeadPlan:
    """The parts of a call that only its head decides.

    Attributes:
        endpoint: What is asked for; None where there is no such endpoint.
        tail: The name behind an endpoint's path.
        forwarded: Header lines that go on to a provider that speaks the caller's dialect.
        forwarded_always: Those of them that any provider understands.
        trace_lines: The client's own trace headers, which go on where nothing is traced here.
        principal: Whose key the head holds, as of `keys_changes`; None until looked up.
        lanes: What its plain requests have alike, by their model, and target if it has several.
        keys_changes: State of the key table that `principal` was found in.
    """

    __slots__ = (
        "endpoint",
        "forwarded",
        "forwarded_always",
        "keys_changes",
        "lanes",
        "principal",
        "tail",
        "trace_lines",
    )

    def __init__(self, routes: RouteTable, exchange: Exchange) -> None:
        self.endpoint: Endpoint | None
        self.endpoint, self.tail = routes.find(exchange.method, exchange.path)
        operation = None if self.endpoint is None else self.endpoint.operation
        self.forwarded_always = lines_to_upstream(exchange.headers, ALWAYS)
        self.trace_lines = lines_to_upstream(exchange.headers, TRACE)
        self.forwarded = self.forwarded_always
        if operation is not None:
            self.forwarded += lines_to_upstream(exchange.headers, operation.forwards)
            for name, line in operation.default_lines:
                if name not in exchange.headers:
                    self.forwarded += line
        self.principal: Principal | None = None
        self.keys_changes = -1
        self.lanes: dict[str | tuple[str, Target], Lane] = {}
