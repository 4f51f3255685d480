"""The stages of a request, in order. A newcomer reads this file and knows the product.

    bytes → edge → route → authenticate → admit → plan → attempt → relay → settle

The edge has already refused whatever is not one good HTTP request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from time import time_ns

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.seed_chat import SEED
from tidegate.edge.exchange import Exchange
from tidegate.errors import (
    ClientGone,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from tidegate.ids import request_id
from tidegate.keys.principal import Principal
from tidegate.limits.limiter import Decision
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint, RouteTable
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.head_plan import HeadPlan
from tidegate.pipeline.settle import refuse, settle
from tidegate.pipeline.traces import begin_trace, finish_trace
from tidegate.routing.plan import ModelRoute

log = logging.getLogger("tidegate.pipeline")


class InternalError(GatewayError):
    """A defect of ours (500). What happened stands in the log, under the request id."""


class Pipeline:
    """Serves exchanges: the edge's handler."""

    def __init__(self, gateway: Gateway, routes: RouteTable) -> None:
        self._gateway = gateway
        self._routes = routes

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request; every way out of it is answered, counted and logged once."""
        gateway = self._gateway
        plan = exchange.memo.plan
        if plan is None:
            plan = exchange.memo.plan = HeadPlan(self._routes, exchange)
        endpoint = plan.endpoint
        call = Call(
            exchange, endpoint or _unknown(exchange.path), plan, gateway.state, request_id()
        )
        if gateway.tracer is not None and call.endpoint.counted:
            begin_trace(gateway.tracer, call)
        gateway.meters.in_flight.inc()
        if endpoint is None:
            await self.conclude(call, self._run_otherwise(call))
        else:
            await self.conclude(call, endpoint.run(gateway, call))

    async def _run_otherwise(self, call: Call) -> None:
        exchange = call.exchange
        endpoint = self._routes.otherwise
        allow = self._routes.methods(exchange.path)
        if endpoint is None or allow:
            raise _no_endpoint(exchange, allow)
        await endpoint.run(self._gateway, call)

    async def conclude(self, call: Call, work: Awaitable[None]) -> None:
        """Do the *work* of a call that counts as in flight; its end is told and counted once."""
        gateway, exchange = self._gateway, call.exchange
        try:
            await work
        except GatewayError as error:
            refuse(gateway, call, error)
        except ClientGone:
            call.outcome = "client_gone"
        except asyncio.CancelledError:
            _on_cancel(gateway, call)
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": call.request_id}})
            refuse(gateway, call, InternalError("The gateway failed to serve this request."))
        finally:
            exchange.watcher = None
            gateway.meters.in_flight.dec()
            if not call.settled:
                settle(gateway, call, call.status)
            if call.trace is not None:
                finish_trace(call.trace, call)


def identify(gateway: Gateway, call: Call) -> Principal:
    """Find out who asks. Raises `Unauthenticated`; see `authenticate`."""
    plan = call.plan
    directory = gateway.directory
    principal = plan.principal
    if (
        principal is None
        or plan.keys_changes != directory.changes
        or principal.expires_at_ms is not None
    ):
        principal = directory.authenticate(call.exchange.headers, time_ns() // 1_000_000)
        plan.principal = principal
        plan.keys_changes = directory.changes
    call.principal = principal
    return principal


async def authenticate(gateway: Gateway, call: Call) -> Principal:
    """Find out who asks. Raises `Unauthenticated`, held back for an address that guesses."""
    try:
        return identify(gateway, call)
    except Unauthenticated as error:
        await hold_back(gateway, call, error)
        raise


async def hold_back(gateway: Gateway, call: Call, error: Unauthenticated) -> None:
    """Count a failed authentication, and wait as long as its address has to."""
    gateway.meters.auth_failures.labels(error.reason).inc()
    wait_s = gateway.throttle.reserve(call.exchange.client_ip)
    if wait_s > 0.0:
        try:
            await asyncio.sleep(wait_s)
        finally:
            gateway.throttle.release()


def admit_at_once(
    gateway: Gateway, call: Call, principal: Principal, route: ModelRoute | None
) -> bool:
    """Pass all limits of this request now, or raise `RateLimited`.

    Everything that can refuse for another reason (401, 400, 404) comes before: a request
    that is refused consumes nothing. False when the limiter is busy: await `admit_later`.
    """
    checks = call.state.checks(gateway.limiter, principal, call.exchange, route)
    if not checks:
        gateway.meters.allowed.inc()
        return True
    decision = gateway.limiter.admit(checks)
    if decision is None:
        return False
    note_decision(gateway, call, decision)
    return True


async def admit_later(
    gateway: Gateway, call: Call, principal: Principal, route: ModelRoute | None
) -> None:
    """Pass all limits once the limiter is free, or raise `RateLimited`."""
    checks = call.state.checks(gateway.limiter, principal, call.exchange, route)
    note_decision(gateway, call, await gateway.limiter.admit_later(checks))


async def admit(
    gateway: Gateway, call: Call, principal: Principal, route: ModelRoute | None
) -> None:
    """Pass all limits of this request, or raise `RateLimited`."""
    if not admit_at_once(gateway, call, principal, route):
        await admit_later(gateway, call, principal, route)


async def admit_reading(gateway: Gateway, call: Call, principal: Principal) -> None:
    """Pass all limits but those of concurrency, or raise `RateLimited`.

    For what asks no model: work in the background may hold every place that a key has, and it
    must be possible to look after it and to stop it.
    """
    checks = [
        check
        for check in call.state.checks(gateway.limiter, principal, call.exchange, None)
        if not check.rule.is_concurrency
    ]
    if not checks:
        gateway.meters.allowed.inc()
        return
    decision = gateway.limiter.admit(checks)
    if decision is None:
        decision = await gateway.limiter.admit_later(checks)
    note_decision(gateway, call, decision)


def note_decision(gateway: Gateway, call: Call, decision: Decision) -> None:
    """Count what the limiter has said; raises `RateLimited` if it refuses."""
    meters = gateway.meters
    call.decision = decision
    meters.count_decision(decision)
    if decision.allowed:
        meters.allowed.inc()
        return
    meters.blocked.inc()
    refused_by = decision.refused_by
    name = "" if refused_by is None else f" '{refused_by.name}'"
    raise RateLimited(
        f"Rate limit{name} reached; try again in {_seconds(decision.retry_after_ns)} s.",
        retry_after_s=decision.retry_after_ns / 1e9,
    )


def _seconds(wait_ns: int) -> str:
    """Write a wait so that whoever waits as long is not too early: `12`, `0.207`."""
    ms = -(-wait_ns // 1_000_000)
    return f"{ms / 1000:g}" if ms < 10_000 else f"{-(-ms // 1000)}"


def _on_cancel(gateway: Gateway, call: Call) -> None:
    """A task is cancelled when its client has left, or when the process stops at once."""
    if call.exchange.disconnected:
        call.outcome = "client_gone"
    elif not call.settled:
        refuse(gateway, call, Unavailable("The gateway is shutting down.", retry_after_s=1.0))


def _no_endpoint(exchange: Exchange, allow: bytes) -> GatewayError:
    method = exchange.method.decode("ascii", "replace")
    path = exchange.path[:200].decode("ascii", "replace")
    if allow:
        return MethodNotAllowed(
            f"Method {method} is not allowed here; use {allow.decode()}.", allow=allow.decode()
        )
    return NotFound(f"Invalid URL ({method} {path})")


def _unknown(path: bytes) -> Endpoint:
    return _UNKNOWN_SEED if path.startswith(b"/api/") else _UNKNOWN_OPENAI


async def _no_run(gateway: Gateway, call: Call) -> None:
    raise NotFound("Invalid URL")


_UNKNOWN_OPENAI = Endpoint("unknown", b"", b"", OPENAI, _no_run)
_UNKNOWN_SEED = Endpoint("unknown", b"", b"", SEED, _no_run)
