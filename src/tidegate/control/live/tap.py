"""A worker's part of recent requests: rows of settled calls, collected while somebody looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tidegate.control.live.answers import AttemptRow, RequestRow

if TYPE_CHECKING:
    from tidegate.pipeline.call import Call
    from tidegate.routing.target import Target

MOST_ROWS: Final = 200
"""Between two deliveries, which are a second apart; further ones are dropped."""
_MOST_WAYS: Final = 10_000
_MOST_ATTEMPTS: Final = 20


class RequestTap:
    """Collects what calls tell at their attempts' ends and at their own.

    Attributes:
        dropped: Rows that found no room.
    """

    def __init__(self) -> None:
        self._rows: list[RequestRow] = []
        self._ways: dict[str, tuple[list[AttemptRow], list[int]]] = {}
        self.dropped = 0

    def attempt(
        self,
        call: Call,
        target: Target,
        outcome: str,
        status: int,
        duration_s: float,
        cost_nano_usd: int | None,
    ) -> None:
        """Note an attempt that has ended."""
        way = self._ways.get(call.request_id)
        if way is None:
            if len(self._ways) >= _MOST_WAYS:
                return
            way = self._ways[call.request_id] = ([], [])
        attempts, costs = way
        if cost_nano_usd is not None:
            costs.append(cost_nano_usd)
        if len(attempts) < _MOST_ATTEMPTS:
            attempts.append(
                AttemptRow(target.provider, target.label, outcome, status, round(duration_s, 6))
            )

    def note(self, call: Call, status: int, duration_s: float) -> None:
        """Note a call that is settled."""
        attempts, costs = self._ways.pop(call.request_id, ([], []))
        if len(self._rows) >= MOST_ROWS:
            self.dropped += 1
            return
        principal, usage, decision = call.principal, call.usage, call.decision
        refused_by = None if decision is None else decision.refused_by
        self._rows.append(
            RequestRow(
                request_id=call.request_id,
                time_ms=int((time.time() - duration_s) * 1000),
                endpoint=call.endpoint.name,
                status=status,
                outcome=call.outcome,
                stream=call.stream,
                key=None if principal is None else principal.name,
                team=None if principal is None else principal.team,
                model=call.model,
                duration_s=round(duration_s, 6),
                ttft_s=None if call.ttft_s is None else round(call.ttft_s, 6),
                input_tokens=None if usage is None else usage.input_tokens,
                output_tokens=None if usage is None else usage.output_tokens,
                cost_usd=sum(costs) / 1e9 if costs else None,
                limit=None if refused_by is None else refused_by.name,
                attempts=attempts,
            )
        )

    def take(self) -> list[RequestRow]:
        """Return the rows collected since the last call."""
        rows, self._rows = self._rows, []
        return rows
