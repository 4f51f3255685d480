"""Who a request comes from. There is no empty one: authentication returns it or raises."""

from __future__ import annotations

from typing import Any


class Principal:
    """The holder of a key. Not changed after it is made, but for `plan`.

    Attributes:
        key_id: Stable id of the key.
        name: Its name, given by the operator; shown in logs.
        subject: `key_id` as bytes, the subject of limits per key.
        team: Its team, if any.
        limits: Names of its own limits, besides the default ones.
        models: Model names it may use; None means all.
        expires_at_ms: Unix ms from which it is refused; None means never.
        plan: What the pipeline has worked out for this key and keeps until a reload.
    """

    __slots__ = (
        "expires_at_ms",
        "key_id",
        "limits",
        "models",
        "name",
        "plan",
        "subject",
        "team",
    )

    def __init__(
        self,
        *,
        key_id: str,
        name: str,
        team: str | None,
        limits: tuple[str, ...],
        models: frozenset[str] | None,
        expires_at_ms: int | None,
    ) -> None:
        self.key_id = key_id
        self.name = name
        self.subject = key_id.encode()
        self.team = team
        self.limits = limits
        self.models = models
        self.expires_at_ms = expires_at_ms
        self.plan: Any = None
