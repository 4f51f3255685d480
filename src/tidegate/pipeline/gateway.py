"""The services that endpoints and stages are given, and the state a reload replaces."""

from __future__ import annotations

import asyncio
import difflib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from tidegate.errors import Forbidden, ModelNotFound
from tidegate.limits.rules import Rule
from tidegate.responses.jobs import Jobs

if TYPE_CHECKING:
    from tidegate.config.snapshot import Snapshot
    from tidegate.edge.exchange import Exchange
    from tidegate.keys.directory import KeyDirectory
    from tidegate.keys.principal import Principal
    from tidegate.keys.throttle import GuessThrottle
    from tidegate.ledger.journal import Journal
    from tidegate.limits.limiter import Check, Limiter
    from tidegate.pipeline.access_log import AccessLog
    from tidegate.pipeline.meters import Meters
    from tidegate.responses.store import ResponseStore
    from tidegate.routing.plan import ModelRoute
    from tidegate.routing.target import Target
    from tidegate.stores.owned_objects import OwnedObjects
    from tidegate.sweep import Sweep
    from tidegate.tracing.tracer import Tracer

#: `(content header lines, body)` of the metrics page for an Accept and Accept-Encoding.
RenderPage = Callable[[bytes | None, bytes | None], Awaitable[tuple[bytes, bytes]]]

_MAX_OPEN_ROUTES = 1_000

log = logging.getLogger("tidegate.pipeline")


class State:
    """One configuration generation as the data plane uses it. Never changed, only replaced,
    but for `offered`.

    Attributes:
        snapshot: What it was built from.
        routes: Configured model names.
        open_route: Makes a route for a name such as `openai/gpt-4o`, or returns None.
        rules: Limits by name.
        offered: Names such as `ollama/llama3.2` that a provider was found to have, beside the
            configured ones; set anew when more is found.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        routes: dict[str, ModelRoute],
        open_route: Callable[[str], ModelRoute | None],
        open_place: Callable[[str], Target | None] | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.routes = routes
        self.open_route = open_route
        self.rules = {limit.name: Rule.from_snapshot(limit) for limit in snapshot.limits}
        self.offered: frozenset[str] = frozenset()
        self._defaults = snapshot.default_limits
        self._open_place = open_place
        self._places: dict[str, Target | None] = {}
        self._open_routes: dict[str, ModelRoute] = {}
        self._absent = dict(snapshot.absent_providers)

    def route(self, name: str, principal: Principal) -> ModelRoute:
        """Return the route of *name* for *principal*.

        Raises `ModelNotFound`, in the same words for a name that does not exist and one that
        this key may not use, so that nobody learns what others have.
        """
        allowed = principal.models
        if allowed is None or name in allowed:
            route = self.routes.get(name) or self._open_routes.get(name) or self._open(name)
            if route is not None:
                return route
        self._tell_operator(name)
        raise ModelNotFound(self._not_found(name, principal), param="model")

    def _tell_operator(self, name: str) -> None:
        """Log, once a provider, that a client asks for one that is not configured.

        Clients are not told: what an operator has is not their business.
        """
        provider = name.partition("/")[0]
        variable = self._absent.pop(provider, None)
        if variable is not None:
            log.warning(
                "a client asks for a model of a provider that is not configured",
                extra={"fields": {"provider": provider, "key_variable": variable}},
            )

    def place(self, provider: str) -> Target | None:
        """Return a configured provider as a target of no model; None for any other name."""
        if provider not in self._places and self._open_place is not None:
            place = self._open_place(provider)
            if place is None:
                return None
            self._places[provider] = place
        return self._places.get(provider)

    def visible_models(self, principal: Principal) -> list[str]:
        """Return the names, configured or found, that *principal* may use, sorted."""
        allowed = principal.models
        names = self.offered | self.routes.keys() if self.offered else self.routes
        return sorted(name for name in names if allowed is None or name in allowed)

    def checks(
        self, limiter: Limiter, principal: Principal, exchange: Exchange, route: ModelRoute | None
    ) -> Sequence[Check]:
        """Return the limits that a request has to pass, each with its subject.

        Raises `Forbidden` when the key names a limit that is no longer configured: a key that
        silently lost its limit could spend without end.
        """
        plan = principal.plan
        if plan is None or plan[0] is not self:
            plan = principal.plan = self._plan(limiter, principal)
        _, fixed, per_request = plan
        if not per_request:
            return fixed  # type: ignore[no-any-return]
        checks = list(fixed)
        for rule in per_request:
            if rule.per == "ip":
                checks.append(limiter.check(rule, exchange.client_ip.encode()))
            elif route is not None:
                checks.append(limiter.check(rule, route.name.encode()))
        return checks

    def fixed_checks(self, limiter: Limiter, principal: Principal) -> Sequence[Check] | None:
        """Return `checks` where they are the same for all requests of *principal*; else None."""
        plan = principal.plan
        if plan is None or plan[0] is not self:
            plan = principal.plan = self._plan(limiter, principal)
        return None if plan[2] else plan[1]

    def _plan(
        self, limiter: Limiter, principal: Principal
    ) -> tuple[State, tuple[Check, ...], tuple[Rule, ...]]:
        """Work out a key's limits: the default ones, then its own."""
        names = dict.fromkeys((*self._defaults, *principal.limits))
        missing = [name for name in names if name not in self.rules]
        if missing:
            raise Forbidden(f"This key's limit {missing[0]!r} is not configured; ask the operator.")
        rules = [self.rules[name] for name in names]
        fixed = tuple(
            limiter.check(rule, principal.subject if rule.per == "key" else b"")
            for rule in rules
            if rule.per in ("key", "global")
        )
        return self, fixed, tuple(rule for rule in rules if rule.per in ("ip", "model"))

    def _open(self, name: str) -> ModelRoute | None:
        route = self.open_route(name)
        if route is not None:
            # Names come from clients: the memory they can take is bounded.
            if len(self._open_routes) >= _MAX_OPEN_ROUTES:
                self._open_routes.pop(next(iter(self._open_routes)))
            self._open_routes[name] = route
        return route

    def _not_found(self, name: str, principal: Principal) -> str:
        shown = name if len(name) <= 200 else name[:200] + "…"
        message = f"The model `{shown}` does not exist or you do not have access to it."
        near = difflib.get_close_matches(
            name[:200], self.visible_models(principal), n=3, cutoff=0.5
        )
        if near:
            message += " Did you mean " + ", ".join(f"`{match}`" for match in near) + "?"
        return message


class Gateway:
    """Everything a stage may use. One for each worker.

    Attributes:
        state: The generation in force; a call takes it once and keeps it.
        directory: Keys.
        limiter: The table that all workers share.
        throttle: Slows down whoever guesses keys.
        meters: Metric series.
        access_log: One line a request.
        journal: One row an attempt.
        sweep: Deadlines.
        loop: The worker's event loop.
        render_page: The metrics page.
        tracer: Begins traces; None where nothing is traced.
        responses: What the Responses API keeps; None where there is nowhere to keep it.
        jobs: The responses that this worker makes in the background.
        objects: Whose files and batches those at providers are; None as above.
        is_ready: Whether new traffic should be sent here.
        chance: Source of numbers in [0, 1) for weights and jitter.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        sweep: Sweep,
        state: State,
        directory: KeyDirectory,
        limiter: Limiter,
        throttle: GuessThrottle,
        meters: Meters,
        access_log: AccessLog,
        journal: Journal,
        render_page: RenderPage,
        is_ready: Callable[[], bool],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.loop = loop
        self.sweep = sweep
        self.state = state
        self.directory = directory
        self.limiter = limiter
        self.throttle = throttle
        self.meters = meters
        self.access_log = access_log
        self.journal = journal
        self.render_page = render_page
        self.is_ready = is_ready
        self.chance = chance
        self.tracer: Tracer | None = None
        self.responses: ResponseStore | None = None
        self.objects: OwnedObjects | None = None
        self.jobs = Jobs(loop)

    def watches_objects(self, state: State) -> bool:
        """Whether requests have to be looked through for objects of other keys: 0.1 µs."""
        objects = self.objects
        return objects is not None and (objects.in_use or state.snapshot.refuse_unknown_ids)
